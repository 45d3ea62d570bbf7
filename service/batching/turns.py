"""Turns between threads whose work can pause."""

from collections import deque
from threading import Event, Lock
from types import TracebackType
from typing import Self


class AbandonedError(Exception):
    """Nobody waits for the work any more, so it stopped half-way."""


class Turns:
    """Lets so many threads work at once. The others wait, and those that work let them in between slices of
    their work, whoever has waited longest first. Safe for threads."""

    def __init__(self, most: int) -> None:
        """`most`: how many work at once."""
        self._lock = Lock()
        self._free = most
        self._waiting: deque[Event] = deque()

    def turn(self, abandoned: Event) -> "Turn":
        """For one piece of work; `abandoned` is set when nobody waits for it any more."""
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
        """The caller works no more."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def pass_on(self) -> None:
        """Lets the next one work, if any waits, and waits for its own next turn."""
        with self._lock:
            if not self._waiting:
                return
            mine = Event()
            self._waiting.append(mine)
            self._waiting.popleft().set()
        mine.wait()


class Turn:
    """A piece of work in slices, as a context manager."""

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
        """Called between slices. Raises AbandonedError."""
        if self._abandoned.is_set():
            raise AbandonedError
        self._turns.pass_on()
        if self._abandoned.is_set():
            raise AbandonedError
