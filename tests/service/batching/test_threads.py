import threading
import time
import weakref

import pytest

from sigrl.service.batching.threads import RequestThreads
from sigrl.service.errors import NotReadyError
from sigrl.service.observability.context import SERVED, Served


def test_worker_threads_inherit_the_request_context() -> None:
    threads = RequestThreads(1)
    token = SERVED.set(Served("seven"))
    try:
        served = threads.submit(SERVED.get).result()
    finally:
        SERVED.reset(token)
    assert served is not None
    assert served.id == "seven"
    assert threads.submit(SERVED.get).result() is None
    threads.close()


def test_closed_pool_finishes_running_work_and_rejects_the_rest() -> None:
    threads = RequestThreads(1)
    began, go_on = threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        assert go_on.wait(60)
        return "done"

    first, second = threads.submit(work), threads.submit(work)
    assert began.wait(60)
    threads.close()
    with pytest.raises(NotReadyError, match="shutting down"):
        threads.submit(work).result(0)
    go_on.set()
    assert first.result(60) == "done"
    with pytest.raises(NotReadyError, match="shutting down"):
        second.result(60)


def test_threads_end_when_idle_and_restart_with_new_work() -> None:
    threads = RequestThreads(2, "sigrl-brief")
    for _ in range(2):
        together = threading.Barrier(2)
        names = [threads.submit(_name_beside, together) for _ in range(2)]
        assert [name.result(60) for name in names] == ["sigrl-brief"] * 2
        for thread in threading.enumerate():
            if thread.name == "sigrl-brief":
                thread.join(60)
                assert not thread.is_alive()


def test_idle_thread_is_reused_and_releases_the_last_result() -> None:
    threads = RequestThreads(2, linger_seconds=60)
    result = threads.submit(_Result)
    first = result.result(60).thread
    kept = weakref.ref(result.result())
    del result
    deadline = time.monotonic() + 60
    while kept() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert kept() is None
    assert threads.submit(threading.current_thread).result(60) is first
    threads.close()
    first.join(60)
    assert not first.is_alive()


def test_idle_thread_ends_after_its_timeout() -> None:
    threads = RequestThreads(1, linger_seconds=0.01)
    thread = threads.submit(threading.current_thread).result(60)
    thread.join(60)
    assert not thread.is_alive()
    assert threads.submit(int, "1").result(60) == 1


def test_work_runs_in_order_within_the_thread_limit() -> None:
    threads = RequestThreads(1)
    order: list[int] = []
    futures = [threads.submit(order.append, number) for number in range(50)]
    for future in futures:
        future.result(60)
    assert order == list(range(50))


def test_error_is_set_on_the_future_and_the_next_call_runs() -> None:
    threads = RequestThreads(1)
    failed, done = threads.submit(int, "none"), threads.submit(int, "1")
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(60)
    assert done.result(60) == 1


class _Result:
    def __init__(self) -> None:
        self.thread = threading.current_thread()


def _name_beside(together: threading.Barrier) -> str:
    together.wait(60)
    return threading.current_thread().name
