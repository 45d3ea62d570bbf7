import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigrl.service.batching.permits import Permits
from sigrl.service.errors import OverloadedError, RequestTooLargeError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_request_gets_all_its_permits_or_none() -> None:
    permits = Permits(max_items=3, max_pixels=100)
    permits.take([10, 10])
    with pytest.raises(OverloadedError):
        permits.take([10, 10])
    with pytest.raises(OverloadedError):
        permits.take([81])
    permits.take([80])
    with pytest.raises(OverloadedError):
        permits.check()
    assert permits.taken == (3, 100)


def test_request_larger_than_the_total_limit_is_rejected_as_too_large() -> None:
    permits = Permits(max_items=3, max_pixels=100)
    for pixels in ([1, 1, 1, 1], [101]):
        with pytest.raises(RequestTooLargeError, match="split the request"):
            permits.take(pixels)
    assert permits.taken == (0, 0)


def test_retry_after_follows_recent_throughput_without_idle_time() -> None:
    clock = Clock()
    permits = Permits(max_items=40, max_pixels=10**9, clock=clock)
    assert permits.retry_after == 1
    for _ in range(20):
        clock.now += 3600
        permits.take([1, 1, 1, 1])
        for _ in range(4):
            clock.now += 0.5
            permits.give_back(1, answered=True)
    permits.take([1] * 40)
    with pytest.raises(OverloadedError) as caught:
        permits.take([1])
    assert caught.value.retry_after == 20
    assert "20 s" in caught.value.hint


def test_retry_after_is_capped() -> None:
    clock = Clock()
    permits = Permits(max_items=40, max_pixels=10**9, clock=clock)
    permits.take([1] * 40)
    clock.now += 1000
    permits.give_back(1, answered=True)
    assert permits.retry_after == 60


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=5), max_size=12), st.data())
def test_permit_count_is_conserved(requests: list[list[int]], data: st.DataObject) -> None:
    permits = Permits(max_items=8, max_pixels=100)
    inside: list[int] = []
    for request in requests:
        try:
            permits.take(request)
            inside += request
        except (OverloadedError, RequestTooLargeError):
            assert len(inside) + len(request) > 8 or sum(inside) + sum(request) > 100
        for _ in range(data.draw(st.integers(0, len(inside)))):
            permits.give_back(inside.pop(), answered=data.draw(st.booleans()))
        assert permits.taken == (len(inside), sum(inside)) <= (8, 100)
    for size in inside:
        permits.give_back(size, answered=True)
    assert permits.taken == (0, 0)


def test_all_back_waits_until_every_permit_is_returned() -> None:
    async def test() -> None:
        permits = Permits(max_items=3, max_pixels=100)
        await permits.all_back()
        permits.take([1, 1])
        waiting = asyncio.create_task(permits.all_back())
        permits.give_back(1, answered=True)
        await asyncio.sleep(0)
        assert not waiting.done()
        permits.give_back(1, answered=False)
        await asyncio.wait_for(waiting, 60)

    asyncio.run(test())
