"""Ends of the process that wait for nothing. Imports nothing heavy: it is needed before anything else is."""

import logging
import os
import signal
import threading
import time
from types import FrameType

_logger = logging.getLogger("sigrl")

_END = "sigrl-end"


def end_process(why: str) -> None:
    """Ends the process with status 0: one that was told to stop has not failed. Python itself would wait for
    every thread that is no daemon."""
    _logger.warning("the process ends: %s", why)
    logging.shutdown()
    os._exit(0)


def end_at_signals() -> None:
    """Lets SIGTERM and SIGINT end the process, for as long as no server runs that has its own handlers."""

    def end(sig: int, _: FrameType | None) -> None:
        end_process(f"{signal.Signals(sig).name} during the start")

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, end)


def end_after(seconds: float) -> None:
    """Ends the process in so many seconds if it has not ended by itself, and says which threads still
    work."""

    def end() -> None:
        time.sleep(seconds)
        end_process(f"the shutdown did not finish in time; {threads_at_work()}")

    threading.Thread(target=end, name=_END, daemon=True).start()


def threads_at_work() -> str:
    """In words, the threads that keep Python from ending, and those of ours, which end when they have nothing
    to do."""
    others = [each for each in threading.enumerate() if each is not threading.main_thread()]
    working = {each.name for each in others if not each.daemon or each.name.startswith("sigrl-")} - {_END}
    return f"threads that still work: {', '.join(sorted(working)) or 'none'}"
