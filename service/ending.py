"""Ends the process without waiting. Imports nothing heavy, because it is needed before anything else."""

import logging
import os
import signal
import threading
import time
from types import FrameType

_logger = logging.getLogger("sigrl")

_END = "sigrl-end"


def end_process(why: str, level: int = logging.INFO) -> None:
    """Ends the process with status 0, because a requested stop is not a failure. A normal interpreter exit
    would wait for every non-daemon thread."""
    _logger.log(level, "the process ends: %s", why)
    logging.shutdown()
    os._exit(0)


def end_at_signals() -> None:
    """Makes SIGTERM and SIGINT end the process until the server installs its own handlers."""

    def end(sig: int, _: FrameType | None) -> None:
        # A warning, because less is not shown until the log is configured.
        end_process(f"{signal.Signals(sig).name} during the start", logging.WARNING)

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, end)


def end_after(seconds: float) -> None:
    """Ends the process after `seconds` if it has not ended by itself, and logs which threads are still
    running."""

    def end() -> None:
        time.sleep(seconds)
        end_process(f"the shutdown did not finish in time; {threads_at_work()}", logging.WARNING)

    threading.Thread(target=end, name=_END, daemon=True).start()


def threads_at_work() -> str:
    """Describes the threads that keep the interpreter from exiting: non-daemon threads, and the service's own
    threads, which end by themselves when they are idle."""
    others = [each for each in threading.enumerate() if each is not threading.main_thread()]
    working = {each.name for each in others if not each.daemon or each.name.startswith("sigrl-")} - {_END}
    return f"threads still running: {', '.join(sorted(working)) or 'none'}"
