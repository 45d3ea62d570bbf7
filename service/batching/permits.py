"""Admission control: limits how many items and pixels are in progress at once."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from sigrl.service.errors import OverloadedError, RequestTooLargeError

_LONGEST_WAIT = 60
# In the throughput estimate, an item answered a hundred items ago has about a third of the weight.
_MEMORY = 0.99


class Permits:
    """Counts the items and pixels between admission and answer. A request that exceeds the limits is refused
    at once, because in an unbounded queue everybody waits for answers that come too late. Belongs to one
    event loop."""

    def __init__(self, max_items: int, max_pixels: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_items, self._max_pixels, self._clock = max_items, max_pixels, clock
        self._items = self._pixels = 0
        self._busy_since = 0.0
        self._busy_seconds = self._answered = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def taken(self) -> tuple[int, int]:
        """(items, pixels) now in progress."""
        return self._items, self._pixels

    def take(self, pixels: Sequence[int]) -> None:
        """Admits all of a request's items, or none. `pixels` holds the size of each item.

        Raises:
            OverloadedError: there is no room now.
            RequestTooLargeError: the request exceeds the limits even when nothing else is in progress.
        """
        size = sum(pixels)
        if len(pixels) > self._max_items or size > self._max_pixels:
            raise RequestTooLargeError(
                f"{len(pixels):,} items of {size / 1e6:,.1f} megapixels exceed the limit for one request, "
                f"{self._max_items:,} of {self._max_pixels / 1e6:,.1f}",
                "split the request",
            )
        if self._items + len(pixels) > self._max_items or self._pixels + size > self._max_pixels:
            raise self._overloaded()
        if self._items == 0:
            self._busy_since = self._clock()
        self._items += len(pixels)
        self._pixels += size
        if self._items:
            self._empty.clear()

    def check(self) -> None:
        """Raises OverloadedError if there is no room for even one item. Called before a body is read."""
        if self._items >= self._max_items or self._pixels >= self._max_pixels:
            raise self._overloaded()

    def give_back(self, pixels: int, *, answered: bool) -> None:
        """Releases the permit of one item. Only `answered` items count towards the throughput."""
        self._items -= 1
        self._pixels -= pixels
        if answered:
            now = self._clock()
            self._busy_seconds = self._busy_seconds * _MEMORY + now - self._busy_since
            self._answered = self._answered * _MEMORY + 1
            self._busy_since = now
        if self._items == 0:
            self._empty.set()

    async def all_back(self) -> None:
        """Waits until no item is in progress."""
        await self._empty.wait()

    @property
    def retry_after(self) -> int:
        """Seconds until all items in progress are answered at the recent throughput; 1 to 60."""
        each = self._busy_seconds / self._answered if self._answered else 0.0
        return min(max(math.ceil(self._items * each), 1), _LONGEST_WAIT)

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(
            f"{self._items:,} photographs are in progress, which is the limit",
            f"try again in {self.retry_after} s",
            retry_after=self.retry_after,
        )
