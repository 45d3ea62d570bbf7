"""A queue in which requests take turns."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What the queue must know of an entry."""

    @property
    def pixels(self) -> int:
        """What it adds to a batch."""
        ...


Entry = TypeVar("Entry", bound=Sized)


class FairQueue(Generic[Entry]):
    """First come first served within a request, one each in turn between requests: a single photograph waits
    for one of each other request's and not for the sixty-four of one. Not safe for threads by itself."""

    def __init__(self) -> None:
        self._turns: OrderedDict[object, deque[Entry]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, request: object, entry: Entry) -> None:
        """Adds an entry at the end of its request's."""
        self._turns.setdefault(request, deque()).append(entry)
        self._length += 1

    def remove(self, request: object, entry: Entry) -> None:
        """Takes an entry out, if it still waits."""
        waiting = self._turns.get(request, deque())
        if entry in waiting:
            waiting.remove(entry)
            self._length -= 1
            if not waiting:
                del self._turns[request]

    def take(self, max_items: int, max_pixels: int, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """The next batch: as many as wait, up to the limits, at least one if any is wanted. What is no longer
        wanted is dropped."""
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
