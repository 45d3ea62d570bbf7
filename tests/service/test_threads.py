import threading

import pytest

from service.context import SERVED, Served
from service.errors import NotReadyError
from service.threads import RequestThreads


def test_threads_know_for_which_request_they_work() -> None:
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


def test_closed_they_finish_what_they_began_and_refuse_the_rest() -> None:
    threads = RequestThreads(1)
    began, go_on = threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        assert go_on.wait(60)
        return "done"

    first, second = threads.submit(work), threads.submit(work)
    assert began.wait(60)
    threads.close()
    third = threads.submit(work)
    go_on.set()
    assert first.result(60) == "done"
    for refused in (second, third):
        with pytest.raises(NotReadyError, match="shutting down"):
            refused.result(60)
