"""Continuous batching: whatever waits when the model becomes free goes through it together.

Independent of HTTP and engines. There is no timer to tune: the worker takes a batch whenever it is free, so
batches grow while the model is busy, and an idle server adds no delay.
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
    """How much may wait, and how much may go through the model at once."""

    waiting_items: int
    waiting_pixels: int
    """Sum of the original sizes of the waiting items."""
    batch_items: int
    batch_pixels: int
    """Sum of the sizes of a batch's items as model input. A single item may exceed it."""


class Batcher(Generic[Item, Result]):
    """Passes items to `run` in batches, in one thread.

    Guarantees, whatever items, clients and `run` do: an admitted item gets its own result, its own error (see
    `BatchWorker`) or DeadlineError; nobody waits beyond the deadline; items whose client disconnected or
    whose deadline passed do not reach `run`; and every permit is returned.

    Bound to the event loop in which `start` was called.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Sequence[Result | Exception]], limits: BatchLimits
    ) -> None:
        self.permits = Permits(limits.waiting_items, limits.waiting_pixels)
        self._worker: BatchWorker[Item, Result] = BatchWorker(run, limits.batch_items, limits.batch_pixels)
        self._waiting: set[Entry[Item, Result]] = set()
        self._admits = self._runs = False

    def start(self) -> None:
        """Starts the worker and admits items."""
        self._worker.start()
        self._admits = self._runs = True

    async def close(self, seconds: float) -> None:
        """Stops admitting items, waits up to `seconds` for the admitted ones, and fails the rest."""
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
        """Seconds since `run` last returned a result; infinite before the first."""
        return self._worker.seconds_since_success

    @contextmanager
    def admit(
        self, pixels: Sequence[int], seconds: float, since: float | None = None
    ) -> "Iterator[list[Place[Item, Result]]]":
        """Yields places for all of a request's items or raises; returns those still held at the end.

        Args:
            pixels: the original size of each item.
            seconds: time until the deadline of all items.
            since: when that time began, by `time.monotonic`; now if not given.

        Raises:
            NotReadyError: the batcher is not running.
            OverloadedError, RequestTooLargeError: see `Permits.take`.
        """
        if not self._admits:
            raise NotReadyError.leaving()
        self.permits.take(pixels)
        metrics.IMAGES_ADMITTED.inc(len(pixels))
        request, deadline = object(), (time.monotonic() if since is None else since) + seconds
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
        """`Place.run` without its deadline."""
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
    """The permit of one item, from its admission to its result. As a context manager, it returns the permit
    at the end of the block, independently of the other places of its request."""

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
        """Returns the permit once; `reason` is the exception that ended the work, for the metrics."""
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
        """Awaits `work`; at the deadline, cancels it and raises DeadlineError."""
        # Not `timeout_at`: another event loop's clock may differ from `time.monotonic`.
        timeout = asyncio.timeout(self._deadline - time.monotonic())
        try:
            async with timeout:
                return await work
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise DeadlineError(
                f"no result within {self._seconds:g} s", "try again with fewer photographs at once"
            ) from error

    async def run(self, item: Item, pixels: int) -> tuple[Result, float]:
        """Runs an item with this many pixels of model input; returns (result, seconds that it waited).

        Raises DeadlineError, NotReadyError if the batcher closes, or the item's own error.
        """
        answer: asyncio.Future[tuple[Result, float]] = asyncio.get_running_loop().create_future()
        entry = Entry(self._request, item, pixels, self._deadline, answer)
        return await self.in_time(self._batcher.answer(entry))
