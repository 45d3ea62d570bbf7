import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_engine import FakeFeatures

from sigrl.service.tagging.label_cache import LabelCache


def _features(megabytes: int) -> FakeFeatures:
    return FakeFeatures(np.zeros(megabytes * 1_000_000, np.uint8))


def test_concurrent_first_use_encodes_once() -> None:
    cache, calls, everybody_waits = LabelCache(10**9), [], threading.Event()

    def encode() -> FakeFeatures:
        calls.append(1)
        everybody_waits.wait(5)
        return _features(1)

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(cache.get, ("c", "v"), encode) for _ in range(8)]
        everybody_waits.set()
        assert len({id(result.result()) for result in results}) == 1
    assert len(calls) == 1


def test_least_recently_used_entry_is_evicted_first() -> None:
    cache, encoded = LabelCache(2_500_000), []

    def use(name: str) -> None:
        cache.get(("c", name), lambda: encoded.append(name) or _features(1))

    for name in "abacb":
        use(name)
    assert encoded == ["a", "b", "c", "b"]
    use("c")
    assert encoded == ["a", "b", "c", "b"]


def test_entry_larger_than_the_cache_is_not_kept() -> None:
    cache, encoded = LabelCache(500_000), []
    for _ in range(2):
        assert cache.get(("c", "v"), lambda: encoded.append(1) or _features(1)).values.size == 1_000_000
    assert len(encoded) == 2


def test_error_reaches_all_waiting_callers_and_is_not_cached() -> None:
    cache, started, go_on = LabelCache(10**9), threading.Event(), threading.Event()

    def fail() -> FakeFeatures:
        started.set()
        go_on.wait(5)
        raise RuntimeError("no")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, ("c", "v"), fail)
        started.wait(5)
        second = pool.submit(cache.get, ("c", "v"), lambda: _features(1))
        go_on.set()
        for result in (first, second):
            # The second may also come after the failure, and then encodes anew.
            if result is first or result.exception() is not None:
                with pytest.raises(RuntimeError):
                    result.result()
    assert cache.get(("c", "v"), lambda: _features(1)).values.size == 1_000_000


def test_find_returns_none_without_waiting_for_an_unready_entry() -> None:
    cache, started, go_on = LabelCache(10**9), threading.Event(), threading.Event()

    def encode() -> FakeFeatures:
        started.set()
        go_on.wait(5)
        return _features(1)

    assert cache.find(("c", "v")) is None
    with ThreadPoolExecutor(1) as pool:
        encoded = pool.submit(cache.get, ("c", "v"), encode)
        started.wait(5)
        assert cache.find(("c", "v")) is None
        go_on.set()
        features = encoded.result()
    assert cache.find(("c", "v")) is features
