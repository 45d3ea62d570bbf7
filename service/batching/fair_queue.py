"""A queue in which requests take turns (round robin)."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What the queue requires of an entry."""

    @property
    def pixels(self) -> int:
        """What the entry adds to the size of a batch."""
        ...


Entry = TypeVar("Entry", bound=Sized)


class FairQueue(Generic[Entry]):
    """Round robin between requests, first in first out within each: a single photograph waits for one entry
    of every other request, not for all 64 entries of one. Not thread-safe."""

    def __init__(self) -> None:
        self._turns: OrderedDict[object, deque[Entry]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, request: object, entry: Entry) -> None:
        """Adds an entry after the others of its request."""
        self._turns.setdefault(request, deque()).append(entry)
        self._length += 1

    def remove(self, request: object, entry: Entry) -> None:
        """Removes an entry if it is still queued."""
        waiting = self._turns.get(request, deque())
        if entry in waiting:
            waiting.remove(entry)
            self._length -= 1
            if not waiting:
                del self._turns[request]

    def take(self, max_items: int, max_pixels: int, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Takes the next batch: as many entries as the limits allow, and at least one if any is wanted.
        Entries that are no longer wanted are dropped."""
        batch: list[Entry] = []
        pixels = 0
        while self._turns and len(batch) < max_items:
            request, waiting = next(iter(self._turns.items()))
            if not wanted(waiting[0]):
                self._pop(request)
                continue
            pixels += waiting[0].pixels
            if batch and pixels > max_pixels:
                break
            batch.append(self._pop(request))
            if waiting:
                self._turns.move_to_end(request)
        return batch

    def _pop(self, request: object) -> Entry:
        waiting = self._turns[request]
        entry = waiting.popleft()
        self._length -= 1
        if not waiting:
            del self._turns[request]
        return entry
