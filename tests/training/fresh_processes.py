"""Fresh processes under the environment of `torchrun`.

They are not forked: the process of the tests runs threads of several engines, and a fork of it may crash.
"""

import faulthandler
import multiprocessing
import os
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_fresh_processes(count: int, function: Callable[..., Result], *arguments: Any) -> list[Result]:
    """What a function returns in each of `count` processes that work together on processors. The function
    must be found by its module's name. A crash prints the lines in which it happened."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawn, initializer=_prepare, initargs=(port, count)) as pool:
        results = [pool.submit(_call, rank, function, *arguments) for rank in range(count)]
        return [result.result(300) for result in results]


def _prepare(port: int, count: int) -> None:
    faulthandler.enable()
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    os.environ |= shared | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def _call(rank: int, function: Callable[..., Result], *arguments: Any) -> Result:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return function(*arguments)
