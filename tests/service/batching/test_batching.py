"""Whatever happens to some, the others get exactly their answers. The items are numbers, the model squares
them; it stands still until a test lets it go, so that nothing here depends on time."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigrl.service.batching.batcher import Batcher, BatchLimits
from sigrl.service.errors import DeadlineError, ModelError, NotReadyError, OverloadedError

LIMITS = BatchLimits(waiting_items=50, waiting_pixels=10**6, batch_items=8, batch_pixels=10**6)
# Long enough for the busiest machine: nothing waits for it unless it hangs.
LONG = 60.0
POISON, REFUSED = 1000, 2000
PLUG = -1


class Model:
    """Squares numbers; raises at POISON + n, returns an error for REFUSED + n, stands still at PLUG."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.plugged, self.unplug = threading.Event(), threading.Event()
        self.failure: BaseException | None = None

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        if PLUG in items:
            self.plugged.set()
            assert self.unplug.wait(LONG)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if any(POISON <= item < REFUSED for item in items):
            raise ValueError(min(item for item in items if item >= POISON))
        return [KeyError(item) if item >= REFUSED else item * item for item in items]

    @property
    def seen(self) -> set[int]:
        return {item for batch in self.batches for item in batch}


@asynccontextmanager
async def running(model: Model, limits: BatchLimits = LIMITS) -> AsyncIterator[Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(model, limits)
    batcher.start()
    try:
        yield batcher
    finally:
        model.unplug.set()
        await batcher.close(LONG)
    assert batcher.permits.taken == (0, 0)


async def ask(batcher: Batcher[int, int], items: Sequence[int], seconds: float = LONG) -> list[Any]:
    """A request: the result of every item, or its error."""

    async def one(place: Any, item: int) -> int:
        with place:
            return (await place.run(item, 1))[0]

    with batcher.admit([1] * len(items), seconds) as places:
        tasks = [one(place, item) for place, item in zip(places, items, strict=True)]
        return await asyncio.gather(*tasks, return_exceptions=True)


async def ask_each(batcher: Batcher[int, int], items: Sequence[int]) -> list[asyncio.Task[list[Any]]]:
    """One request each: who leaves takes its whole request along. All wait in the queue at the end."""
    tasks = [asyncio.create_task(ask(batcher, [item])) for item in items]
    while batcher.permits.taken[0] < len(items):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def plug(model: Model, batcher: Batcher[int, int]) -> asyncio.Task[list[Any]]:
    """Occupies the model, so that what is asked next waits for one batch."""
    model.plugged.clear()
    model.unplug.clear()
    task = asyncio.create_task(ask(batcher, [PLUG]))
    await asyncio.to_thread(model.plugged.wait, LONG)
    return task


def check(item: int, outcome: Any) -> None:
    """The exact answer of one item that nobody cancelled."""
    if item >= REFUSED:
        assert isinstance(outcome, KeyError)
    elif item >= POISON:
        assert isinstance(outcome, ValueError)
    else:
        assert outcome == item * item
        return
    assert outcome.args == (item,)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), LONG))


def test_idle_model_runs_at_once_and_busy_model_batches_requests() -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            assert await ask(batcher, [3]) == [9]
            await plug(model, batcher)
            asked = [asyncio.create_task(ask(batcher, items)) for items in ([1, 2], [3], [4, 5, 6])]
            await asyncio.sleep(0)
            model.unplug.set()
            assert await asyncio.gather(*asked) == [[1, 4], [9], [16, 25, 36]]
            assert model.batches == [[3], [PLUG], [1, 3, 4, 2, 5, 6]]
            assert batcher.seconds_since_success < LONG

    run(test)


FATES = {"fine": 0, "poisoned": POISON, "fine and left": 500, "poisoned and left": POISON + 500}


@pytest.mark.parametrize("when", ["they wait", "the model runs"])
def test_corrupt_or_cancelled_items_do_not_affect_other_items(when: str) -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            for fates in itertools.product(FATES, repeat=4):
                items = [FATES[fate] + number for number, fate in enumerate(fates)]
                model.batches.clear()
                if when == "they wait":
                    plugged = await plug(model, batcher)
                    tasks = await ask_each(batcher, items)
                else:
                    # Unable to take before all wait, the worker gets the plug and all of them as one batch.
                    with batcher._worker._changed:
                        plugging = asyncio.create_task(plug(model, batcher))
                        await asyncio.sleep(0)
                        tasks = await ask_each(batcher, items)
                    plugged = await plugging
                    assert len(model.batches[0]) == 5
                for task, fate in zip(tasks, fates, strict=True):
                    if "left" in fate:
                        task.cancel()
                await asyncio.sleep(0)
                model.unplug.set()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                for item, fate, outcome in zip(items, fates, outcomes, strict=True):
                    if "left" in fate:
                        assert isinstance(outcome, asyncio.CancelledError)
                        assert item not in {i for batch in model.batches[1:] for i in batch}
                    else:
                        check(item, outcome[0])
                assert await plugged == [1]
                assert batcher.permits.taken == (0, 0)

    run(test)


requests = st.lists(
    st.fixed_dictionaries(
        {
            "kinds": st.lists(st.sampled_from([0, 0, POISON, REFUSED]), min_size=1, max_size=6),
            "leaves": st.sampled_from(["no", "no", "no", "at once", "soon", "late"]),
        }
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(requests, st.integers(1, 8), st.integers(2, 20), st.booleans())
def test_any_request_sequence_gets_answers_and_returns_all_permits(
    history: list[dict[str, Any]], batch_items: int, waiting_items: int, busy: bool
) -> None:
    async def test() -> None:
        model = Model()
        limits = BatchLimits(waiting_items, 10**6, batch_items, 10**6)
        async with running(model, limits) as batcher:
            if busy:
                await plug(model, batcher)
            numbers = itertools.count(1)
            asked = []
            for request in history:
                items = [kind + next(numbers) for kind in request["kinds"]]
                task = asyncio.create_task(ask(batcher, items))
                asked.append((request, items, task))
                if request["leaves"] == "at once":
                    task.cancel()
                await asyncio.sleep(0)
                if request["leaves"] == "soon":
                    task.cancel()
            model.unplug.set()
            for request, _, task in asked:
                if request["leaves"] == "late":
                    await asyncio.sleep(0.001)
                    task.cancel()
            for request, items, task in asked:
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                if isinstance(outcome, list):
                    for item, answer in zip(items, outcome, strict=True):
                        check(item, answer)
                elif isinstance(outcome, asyncio.CancelledError):
                    assert request["leaves"] != "no"
                else:
                    # Refused whole, and only for want of room.
                    assert isinstance(outcome, Exception)
                    assert getattr(outcome, "status", None) in (413, 429)
                    assert len(items) > waiting_items or len(asked) > 1 or busy
            assert await ask(batcher, [7]) == [49]
            assert all(len(batch) <= batch_items for batch in model.batches)

    run(test)


def test_items_past_their_deadline_do_not_reach_the_model() -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            plugged = await plug(model, batcher)
            patient = asyncio.create_task(ask(batcher, [3]))
            (late,) = await ask(batcher, [2], seconds=0.02)
            assert isinstance(late, DeadlineError)
            assert "0.02 s" in late.detail
            model.unplug.set()
            assert await patient == [9]
            assert await plugged == [1]
            assert 2 not in model.seen

    run(test)


def test_hanging_model_times_out_requests_and_the_queue_fills_up() -> None:
    async def test() -> None:
        model = Model()
        async with running(model, BatchLimits(4, 100, 8, 100)) as batcher:
            await plug(model, batcher)
            waiting = asyncio.create_task(ask(batcher, [1, 2], seconds=0.2))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError) as caught:
                await ask(batcher, [3, 4])
            assert caught.value.retry_after is not None
            assert all(isinstance(outcome, DeadlineError) for outcome in await waiting)
            assert batcher.permits.taken == (1, 1)
            assert batcher.seconds_since_success == float("inf")

    run(test)


@pytest.mark.parametrize("failure", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_worker_error_fails_only_the_current_batch(failure: BaseException) -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            plugged = await plug(model, batcher)
            model.failure = failure
            next_in_line = asyncio.create_task(ask(batcher, [5]))
            await asyncio.sleep(0)
            model.unplug.set()
            (error,) = await plugged
            assert isinstance(error, ModelError)
            assert type(failure).__name__ in error.detail
            assert await next_in_line == [25]

    run(test)


def test_worker_restarts_after_failing_to_take_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            queue = batcher._worker._queue
            take, calls = queue.take, []

            def broken(*arguments: Any) -> Any:
                calls.append(1)
                if len(calls) == 1:
                    raise MemoryError
                return take(*arguments)

            queue.take = broken  # type: ignore[method-assign]
            assert await ask(batcher, [5]) == [25]
            assert len(calls) > 1

    run(test)
    assert "restarts" in caplog.text


def test_result_count_mismatch_fails_the_whole_batch() -> None:
    async def test() -> None:
        batcher: Batcher[int, int] = Batcher(lambda items: [1] * (len(items) + 1), LIMITS)
        batcher.start()
        assert [type(outcome) for outcome in await ask(batcher, [1])] == [ModelError]
        await batcher.close(LONG)

    run(test)


def test_close_finishes_admitted_requests_and_rejects_new_ones() -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            await plug(model, batcher)
            admitted = asyncio.create_task(ask(batcher, [6]))
            await asyncio.sleep(0)
            closing = asyncio.create_task(batcher.close(LONG))
            await asyncio.sleep(0)
            with pytest.raises(NotReadyError):
                await ask(batcher, [7])
            model.unplug.set()
            await closing
            assert await admitted == [36]

    run(test)


def test_requests_unfinished_at_the_close_timeout_get_not_ready() -> None:
    async def test() -> None:
        model = Model()
        async with running(model) as batcher:
            plugged = await plug(model, batcher)
            with batcher.admit([1], LONG) as (decoding,):
                closing = asyncio.create_task(batcher.close(0.01))
                assert isinstance((await plugged)[0], NotReadyError)
                with pytest.raises(NotReadyError):
                    await decoding.run(8, 1)
                model.unplug.set()
                await closing

    run(test)


def test_queue_place_is_released_only_once() -> None:
    async def test() -> None:
        async with running(Model()) as batcher:
            with batcher.admit([5, 5, 5], LONG) as places:
                with places[0] as place:
                    assert (await place.run(2, 1))[0] == 4
                places[0].leave()
                assert batcher.permits.taken == (2, 10)
            assert batcher.permits.taken == (0, 0)

    run(test)
