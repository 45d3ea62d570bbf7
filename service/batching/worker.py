"""The thread that runs the model."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sigrl.service.batching.fair_queue import FairQueue
from sigrl.service.errors import ModelError
from sigrl.service.observability import metrics

Item = TypeVar("Item")
Result = TypeVar("Result")

_logger = logging.getLogger("sigrl")
_PAUSE_AFTER_FAILURE = 0.1


@dataclass(eq=False, slots=True)
class Entry(Generic[Item, Result]):
    """An item in the queue, and the future of its result."""

    request: object
    """Identifies the request; entries of different requests take turns."""
    item: Item
    pixels: int
    deadline: float
    answer: asyncio.Future[tuple[Result, float]]
    """Receives the result and the seconds that the item waited."""
    queued: float = field(default_factory=time.monotonic)
    waited: float = 0.0

    def wanted(self) -> bool:
        """Whether somebody still waits for it and its deadline has not passed."""
        return not self.answer.done() and time.monotonic() < self.deadline


class BatchWorker(Generic[Item, Result]):
    """Passes batches to `run`, one whenever it is free, until it is stopped.

    If `run` raises, the batch is halved repeatedly, so that only the items that cause it fail with that
    exception; `run` may also return an exception in an item's place. A fault of the worker itself fails the
    current batch and is counted and logged, and the worker restarts. Results are set in the event loop of
    `start`.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        batch_items: int,
        batch_pixels: int,
    ) -> None:
        self._run, self._batch_items, self._batch_pixels = run, batch_items, batch_pixels
        self._queue: FairQueue[Entry[Item, Result]] = FairQueue()
        self._changed = threading.Condition()
        self._in_hand: list[Entry[Item, Result]] = []
        self._stopping = False
        self._last_success: float | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._loop = asyncio.get_running_loop()
        # A daemon, so that a hanging model does not keep the process alive.
        self._thread = threading.Thread(target=self._supervise, name="sigrl-model", daemon=True)
        self._thread.start()

    async def stop(self, seconds: float) -> None:
        """Takes no further batch, and waits up to `seconds` for the current one."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, seconds)

    def put(self, entry: Entry[Item, Result]) -> None:
        """Queues an entry; a free worker takes it at once."""
        with self._changed:
            self._queue.put(entry.request, entry)
            metrics.QUEUE_LENGTH.set(len(self._queue))
            self._changed.notify()

    def withdraw(self, entry: Entry[Item, Result]) -> None:
        """Removes an entry from the queue if it is still there."""
        with self._changed:
            self._queue.remove(entry.request, entry)
            metrics.QUEUE_LENGTH.set(len(self._queue))

    @property
    def seconds_since_success(self) -> float:
        """Seconds since `run` last returned a result; infinite before the first."""
        return float("inf") if self._last_success is None else time.monotonic() - self._last_success

    # The methods below run in the thread.

    def _supervise(self) -> None:
        while not self._stopping:
            try:
                self._work()
            except BaseException as error:
                metrics.WORKER_FAILURES.inc()
                _logger.exception("the model's worker failed and restarts")
                fault = f"the worker failed: {type(error).__name__}"
                failures = [ModelError(fault, "try again; see the server's log") for _ in self._in_hand]
                self._post(self._in_hand, failures)
                self._in_hand = []
                time.sleep(_PAUSE_AFTER_FAILURE)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._in_hand = batch
            metrics.BATCH_SIZE.observe(len(batch))
            with metrics.BATCH_SECONDS.time():
                self._settle(batch)
            self._in_hand = []

    def _next_batch(self) -> list[Entry[Item, Result]]:
        """Waits for a batch; empty when the worker stops."""
        with self._changed:
            while not self._stopping:
                batch = self._queue.take(self._batch_items, self._batch_pixels, Entry.wanted)
                metrics.QUEUE_LENGTH.set(len(self._queue))
                if batch:
                    now = time.monotonic()
                    for entry in batch:
                        entry.waited = now - entry.queued
                        metrics.QUEUE_SECONDS.observe(entry.waited)
                    return batch
                self._changed.wait()
        return []

    def _settle(self, entries: Sequence[Entry[Item, Result]]) -> None:
        """Gives each entry its result or its own error."""
        entries = [entry for entry in entries if entry.wanted()]
        if not entries:
            return
        outcomes: list[Result | Exception]
        try:
            outcomes = list(self._run([entry.item for entry in entries]))
        except Exception as error:
            if len(entries) > 1:
                metrics.BISECTIONS.inc()
                middle = len(entries) // 2
                self._settle(entries[:middle])
                self._settle(entries[middle:])
                return
            outcomes = [error]
        if len(outcomes) != len(entries):
            raise RuntimeError(f"{len(outcomes)} results for {len(entries)} items")
        if not all(isinstance(outcome, Exception) for outcome in outcomes):
            self._last_success = time.monotonic()
        self._post(entries, outcomes)

    def _post(self, entries: Sequence[Entry[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
        # A closed loop raises RuntimeError; then nobody waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_set_outcomes, entries, outcomes)


def _set_outcomes(entries: Sequence[Entry[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
    for entry, outcome in zip(entries, outcomes, strict=True):
        # A future that was cancelled meanwhile must not affect the others.
        if entry.answer.done():
            continue
        if isinstance(outcome, Exception):
            entry.answer.set_exception(outcome)
        else:
            entry.answer.set_result((outcome, entry.waited))
