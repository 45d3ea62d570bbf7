"""What every training command shows in the terminal while it works."""

import os

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar() -> Progress:
    """The progress bar of all training commands: bar, count, time left. Only one of several processes shows
    it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    main = os.environ.get("RANK", "0") == "0"
    return Progress(*columns, TextColumn("{task.fields[note]}"), disable=not main)
