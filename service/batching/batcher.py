"""Many requests, one model: what waits when the model becomes free goes through it together.

Knows neither HTTP nor engines. There is no timer to tune: the worker takes a batch when it is free, so
batches grow by themselves while the model is busy, and an idle server adds no delay.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from sigrl.service.batching.permits import Permits
from sigrl.service.batching.worker import BatchWorker, Entry
from sigrl.service.errors import DeadlineError, NotReadyError
from sigrl.service.observability import metrics

Item = TypeVar("Item")
Result = TypeVar("Result")
Anything = TypeVar("Anything")

_LAST_BATCH_SECONDS = 5.0


@dataclass(frozen=True)
class BatchLimits:
    """What may wait, and what may go through the model at once."""

    waiting_items: int
    waiting_pixels: int
    """Of the items as they came."""
    batch_items: int
    batch_pixels: int
    """Of the items as they go into the model. One of any size may."""


class Batcher(Generic[Item, Result]):
    """Puts items through `run` in batches, in one thread.

    What is promised, whatever items, clients and `run` do: an item that was admitted gets its own result, its
    own error (see `BatchWorker`) or DeadlineError; nobody waits beyond the deadline; items whose waiter left
    or whose deadline passed do not reach `run`; and every permit comes back.

    Belongs to the event loop in which `start` was called.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Sequence[Result | Exception]], limits: BatchLimits
    ) -> None:
        self.permits = Permits(limits.waiting_items, limits.waiting_pixels)
        self._worker: BatchWorker[Item, Result] = BatchWorker(run, limits.batch_items, limits.batch_pixels)
        self._waiting: set[Entry[Item, Result]] = set()
        self._admits = self._runs = False

    def start(self) -> None:
        """Begins to work."""
        self._worker.start()
        self._admits = self._runs = True

    async def close(self, seconds: float) -> None:
        """Admits nothing more, finishes what was admitted within `seconds`, and fails what is left then."""
        self._admits = False
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.permits.all_back()
        self._runs = False
        for entry in self._waiting:
            if not entry.answer.done():
                entry.answer.set_exception(NotReadyError.leaving())
        await self._worker.stop(_LAST_BATCH_SECONDS)

    @property
    def seconds_since_success(self) -> float:
        """Since `run` last gave a result; infinite before the first."""
        return self._worker.seconds_since_success

    @contextmanager
    def admit(self, pixels: Sequence[int], seconds: float) -> "Iterator[list[Place[Item, Result]]]":
        """Places for a request's items, all or none; those still held are given back at the end.

        Args:
            pixels: the size of each item as it came.
            seconds: until the deadline of all of them.

        Raises:
            NotReadyError: the batcher is not running.
            OverloadedError, RequestTooLargeError: see `Permits.take`.
        """
        if not self._admits:
            raise NotReadyError.leaving()
        self.permits.take(pixels)
        metrics.IMAGES_ADMITTED.inc(len(pixels))
        request, deadline = object(), time.monotonic() + seconds
        places = [Place(self, request, size, deadline, seconds) for size in pixels]
        reason: type[BaseException] | None = None
        try:
            yield places
        except BaseException as error:
            reason = type(error)
            raise
        finally:
            for place in places:
                place.leave(reason)

    async def answer(self, entry: Entry[Item, Result]) -> tuple[Result, float]:
        """What `Place.run` does, without its deadline."""
        if not self._runs:
            raise NotReadyError.leaving()
        self._waiting.add(entry)
        self._worker.put(entry)
        try:
            return await entry.answer
        finally:
            self._waiting.discard(entry)
            self._worker.withdraw(entry)


class Place(Generic[Item, Result]):
    """One item's permit, from its admission to its answer. As a context manager it is given back at the end
    of the block, before the other places of its request."""

    def __init__(
        self, batcher: Batcher[Item, Result], request: object, pixels: int, deadline: float, seconds: float
    ) -> None:
        self._batcher, self._request, self._pixels = batcher, request, pixels
        self._deadline, self._seconds = deadline, seconds
        self._held = True

    def __enter__(self) -> "Place[Item, Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.leave(kind)

    def leave(self, reason: type[BaseException] | None = None) -> None:
        """Gives the permit back, once; `reason` is the exception that ended the work, for the metrics."""
        if not self._held:
            return
        self._held = False
        metrics.IMAGES_ADMITTED.dec()
        self._batcher.permits.give_back(self._pixels, answered=reason is None)
        if reason is asyncio.CancelledError:
            metrics.IMAGES_CANCELLED.inc()
        elif reason is DeadlineError:
            metrics.IMAGES_EXPIRED.inc()

    async def in_time(self, work: Awaitable[Anything]) -> Anything:
        """What `work` gives. Raises DeadlineError, and cancels it, at the deadline."""
        # Not `timeout_at`: the clock of another loop than asyncio's own may begin elsewhere.
        timeout = asyncio.timeout(self._deadline - time.monotonic())
        try:
            async with timeout:
                return await work
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise DeadlineError(
                f"there was no answer within {self._seconds:g} s", "try again, with fewer at once"
            ) from error

    async def run(self, item: Item, pixels: int) -> tuple[Result, float]:
        """Puts an item of so many pixels through the model: (result, seconds that it waited).

        Raises DeadlineError, NotReadyError when the batcher closes, or what the item's run raised.
        """
        answer: asyncio.Future[tuple[Result, float]] = asyncio.get_running_loop().create_future()
        entry = Entry(self._request, item, pixels, self._deadline, answer)
        return await self.in_time(self._batcher.answer(entry))
