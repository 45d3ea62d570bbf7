"""Threads whose work can pause take turns."""

from collections import deque
from threading import Event, Lock
from types import TracebackType
from typing import Self


class AbandonedError(Exception):
    """The work was stopped half-way because nobody waits for its result any more."""


class Turns:
    """Limits how many threads work at once. The others wait. Between slices of its work, a working thread
    gives its turn to the one that has waited longest. Thread-safe."""

    def __init__(self, most: int) -> None:
        """`most`: how many threads may work at once."""
        self._lock = Lock()
        self._free = most
        self._waiting: deque[Event] = deque()

    def turn(self, abandoned: Event) -> "Turn":
        """The turn of one piece of work. `abandoned` is set when nobody waits for the result any more."""
        return Turn(self, abandoned)

    def take(self) -> None:
        """Waits until the caller may work."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = Event()
            self._waiting.append(mine)
        mine.wait()

    def give(self) -> None:
        """Ends the caller's turn."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def pass_on(self) -> None:
        """If another thread waits, lets it work and waits for the caller's next turn."""
        with self._lock:
            if not self._waiting:
                return
            mine = Event()
            self._waiting.append(mine)
            self._waiting.popleft().set()
        mine.wait()


class Turn:
    """The turn of one piece of work that is done in slices, as a context manager."""

    def __init__(self, turns: Turns, abandoned: Event) -> None:
        self._turns, self._abandoned = turns, abandoned

    def __enter__(self) -> Self:
        self._turns.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.give()

    def pause(self, _done: int) -> None:
        """Lets others work between two slices. Raises AbandonedError."""
        if self._abandoned.is_set():
            raise AbandonedError
        self._turns.pass_on()
        if self._abandoned.is_set():
            raise AbandonedError
