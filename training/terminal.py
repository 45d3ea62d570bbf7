"""What every training command shows in the terminal while it works."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar() -> Progress:
    """The progress bar of all training commands: bar, count, time left. Only one of several processes shows
    it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), disable=not _is_main())


@contextmanager
def shown(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar, updated by calls of (note, done, total)."""
    with progress_bar() as progress:
        task = progress.add_task(description, note="")
        yield lambda note, done, total: progress.update(task, completed=done, total=total, note=note)


def log_line(text: str) -> None:
    """Prints a sentence; only one of several processes does."""
    if _is_main():
        Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"
