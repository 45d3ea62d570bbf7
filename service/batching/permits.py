"""Who may come in: how many items, and how many pixels, are in the house at once."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from sigrl.service.errors import OverloadedError, RequestTooLargeError

_LONGEST_WAIT = 60
# What was answered a hundred items ago counts a third in the estimate of the throughput.
_MEMORY = 0.99


class Permits:
    """Items and pixels between admission and answer. Beyond the limits a request is refused at once, because
    a queue without an end makes everybody wait for answers that come too late. Belongs to one event loop."""

    def __init__(self, max_items: int, max_pixels: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_items, self._max_pixels, self._clock = max_items, max_pixels, clock
        self._items = self._pixels = 0
        self._busy_since = 0.0
        self._busy_seconds = self._answered = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def taken(self) -> tuple[int, int]:
        """(items, pixels) in the house."""
        return self._items, self._pixels

    def take(self, pixels: Sequence[int]) -> None:
        """Lets a request's items in, all or none; `pixels` holds the size of each.

        Raises:
            OverloadedError: there is no room now.
            RequestTooLargeError: there would be none in an empty house either.
        """
        size = sum(pixels)
        if len(pixels) > self._max_items or size > self._max_pixels:
            raise RequestTooLargeError(
                f"{len(pixels):,} items of {size / 1e6:,.1f} megapixels are more than are taken at once, "
                f"{self._max_items:,} of {self._max_pixels / 1e6:,.1f}",
                "send them in several requests",
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
        """Tells before a body is read that not even one item would find room. Raises OverloadedError."""
        if self._items >= self._max_items or self._pixels >= self._max_pixels:
            raise self._overloaded()

    def give_back(self, pixels: int, *, answered: bool) -> None:
        """One item leaves; `answered` ones count for the throughput."""
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
        """Waits until nobody is in the house."""
        await self._empty.wait()

    @property
    def retry_after(self) -> int:
        """Seconds until all in the house are answered, by the recent throughput; 1 to 60."""
        each = self._busy_seconds / self._answered if self._answered else 0.0
        return min(max(math.ceil(self._items * each), 1), _LONGEST_WAIT)

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(
            f"{self._items:,} photographs are in work, and there is no room for more",
            f"try again in {self.retry_after} s",
            retry_after=self.retry_after,
        )
