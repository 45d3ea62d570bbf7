import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigrl.service.batching.shared_calls import SharedCalls


def test_callers_with_the_same_key_share_a_call_despite_cancellation() -> None:
    async def test() -> None:
        go_on, made = threading.Event(), []

        def call(_: threading.Event) -> str:
            assert go_on.wait(60)
            made.append(1)
            return "value"

        with ThreadPoolExecutor(1) as pool:
            calls: SharedCalls[str, str] = SharedCalls(pool)
            tasks = [asyncio.create_task(calls.get("a", call)) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            go_on.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError)
            assert (results[1:], made) == (["value", "value"], [1])
            assert await calls.get("a", lambda _: "anew") == "anew"

    asyncio.run(test())


def test_queued_call_without_waiting_callers_is_not_run() -> None:
    async def test() -> None:
        go_on, made = threading.Event(), []
        with ThreadPoolExecutor(1) as pool:
            calls: SharedCalls[str, object] = SharedCalls(pool)
            occupying = asyncio.create_task(calls.get("first", lambda _: go_on.wait(60)))
            leaving = [asyncio.create_task(calls.get("second", lambda _: made.append(1))) for _ in range(2)]
            await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            go_on.set()
            assert await occupying is True
        assert made == []

    asyncio.run(test())


def test_error_reaches_all_waiting_callers_and_is_not_cached() -> None:
    async def test() -> None:
        with ThreadPoolExecutor(1) as pool:
            calls: SharedCalls[str, float] = SharedCalls(pool)
            results = await asyncio.gather(
                *(calls.get("a", lambda _: 1 / 0) for _ in range(2)), return_exceptions=True
            )
            assert [type(result) for result in results] == [ZeroDivisionError] * 2
            with pytest.raises(ZeroDivisionError):
                await calls.get("a", lambda _: 1 / 0)
            assert await calls.get("a", lambda _: 2.0) == 2.0

    asyncio.run(test())


def test_running_call_is_notified_when_all_callers_have_left() -> None:
    async def test() -> None:
        began, told = threading.Event(), []

        def call(abandoned: threading.Event) -> None:
            began.set()
            told.append(abandoned.wait(60))

        with ThreadPoolExecutor(1) as pool:
            calls: SharedCalls[str, None] = SharedCalls(pool)
            tasks = [asyncio.create_task(calls.get("a", call)) for _ in range(2)]
            await asyncio.to_thread(began.wait, 60)
            tasks[0].cancel()
            await asyncio.sleep(0.01)
            assert not told
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert told == [True]

    asyncio.run(test())
