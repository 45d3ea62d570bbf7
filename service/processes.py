"""Processes that the service starts to run one of its own modules."""

import os
import sys


def run_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module in a process of its own. `-P` keeps the working directory, which may
    have a module of the same name as a library's, out of its import path; see `environment`."""
    return [sys.executable, "-P", "-m", name, *arguments]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with more `variables`, for a process that imports from where this one
    does."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**os.environ, **variables, "PYTHONPATH": path}
