"""Ends of the process that wait for nothing. Imports nothing heavy: it is needed before anything else is."""

import logging
import os
import signal
import threading
import time
from types import FrameType

_logger = logging.getLogger("sigrl")


def end_process(why: str) -> None:
    """Ends the process with status 0: one that was told to stop has not failed. Python itself would wait for
    every thread that is no daemon."""
    _logger.warning("the process ends: %s", why)
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
        others = [each for each in threading.enumerate() if each is not threading.main_thread()]
        stuck = ", ".join(sorted(each.name for each in others if not each.daemon)) or "none"
        end_process(f"the shutdown did not finish in time; threads that still work: {stuck}")

    threading.Thread(target=end, name="sigrl-end", daemon=True).start()
