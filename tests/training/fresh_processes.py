"""Fresh processes under the environment of `torchrun`.

They are not forked: the process of the tests runs threads of several engines, and a fork of it may crash.
"""

import faulthandler
import multiprocessing
import os
import socket
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from typing import Any, TypeVar

Result = TypeVar("Result")

_SECONDS = 300


def in_fresh_processes(count: int, function: Callable[..., Result], *arguments: Any) -> list[Result]:
    """What a function returns in each of `count` processes that work together on processors, in any
    order. The function must be found by its module's name. Raises what it raises, and
    BrokenProcessPool after a crash, which prints the lines in which it happened."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawn, initializer=_prepare, initargs=(port, count)) as pool:
        futures = [pool.submit(_call, rank, function, *arguments) for rank in range(count)]
        ended, waiting = wait(futures, _SECONDS, FIRST_EXCEPTION)
        if waiting:  # for one that failed, or too long
            for process in multiprocessing.active_children():
                process.kill()
        return [future.result() for future in (*ended, *waiting)]


def _prepare(port: int, count: int) -> None:
    faulthandler.enable()
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    os.environ |= shared | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def _call(rank: int, function: Callable[..., Result], *arguments: Any) -> Result:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return function(*arguments)
