"""Terminal output: results go to the standard output, everything else to the standard error."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sigrl.service.errors import ImageError, TaggerError

if TYPE_CHECKING:
    from sigrl.service.schemas.tagging import Tag, Tagging

_PROTOCOL = re.compile(r"^([a-z][a-z0-9+.-]+:)/(?!/)")
_BAR_WIDTH = 20
_LINE_SECONDS = 30.0
"""How often a line says how far the work is where there is no terminal for a bar."""


def is_address(path: Path) -> bool:
    """Whether a path is the address of an object, such as `s3:/bucket/folder`, and no file."""
    return _PROTOCOL.match(path.as_posix()) is not None and not path.exists()


def with_address(path: Path) -> str:
    """A path as text; an address gets the second slash back that paths do not keep: `s3://bucket/folder`."""
    return _PROTOCOL.sub(r"\1//", path.as_posix()) if is_address(path) else str(path)


def printable(path: Path) -> str:
    """A path that is safe to print: file names may contain escape sequences and bytes that are not text."""
    return "".join(character if character.isprintable() else "\ufffd" for character in with_address(path))


def complain(about: str, error: TaggerError) -> None:
    """Prints one line to the standard error: what happened, and what to do."""
    print(f"{about}: {error.detail}; {error.hint}", file=sys.stderr, flush=True)


def _content(taggings: "tuple[Tagging, ...]") -> dict[str, Any]:
    """The taggings in the form of POST /v1/tag."""
    if len(taggings) == 1:
        return taggings[0].model_dump(mode="json")
    results = [each.model_dump(mode="json", exclude={"checkpoint"}) for each in taggings]
    return {"checkpoint": taggings[0].checkpoint, "results": results}


def bar(probability: float, ascii_only: bool = False) -> str:
    """A bar of up to 20 characters, exact to an eighth of a character."""
    if ascii_only:
        return "#" * round(probability * _BAR_WIDTH)
    whole, eighths = divmod(round(probability * _BAR_WIDTH * 8), 8)
    return "█" * whole + ("▏▎▍▌▋▊▉"[eighths - 1] if eighths else "")


def percent(probability: float) -> str:
    """The probability in whole percent; "0 %" and "100 %" only if it is exactly that."""
    if 0.0 < probability < 0.005:
        return "<1 %"
    if 0.995 <= probability < 1.0:
        return ">99 %"
    return f"{probability:.0%}".replace("%", " %")


NOTHING = "nothing recognised with confidence"
"""Shown if no label is accepted."""


def why_not(tag: "Tag") -> str:
    """Why a tag is not accepted."""
    if tag.probability < tag.threshold:
        return f"below {percent(tag.threshold)}"
    return "excluded by another"


class _Rate(ProgressColumn):
    """Items per second, once known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.1f}/s", "progress.data.speed")


def _by_lines(description: str, total: int | None) -> Callable[[int], None]:
    """Writes a line if the last one was some time ago."""
    began = told = time.monotonic()

    def progress(done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _LINE_SECONDS:
            told = now
            of = "" if total is None else f" of {total:,}"
            rate = done / max(now - began, 1e-9)
            print(f"{description}: {done:,}{of}, {rate:,.1f}/s", file=sys.stderr, flush=True)

    return progress


class Renderer:
    """Prints results as they arrive, with a progress bar on a terminal. Use it as a context manager."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._out = Console(highlight=False)
        tables_on_terminal = self._out.is_terminal and not as_json
        # On one terminal, results and the progress bar must share a console, or they overwrite each other.
        console = self._out if tables_on_terminal else Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or (as_json and self._out.is_terminal),
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._tells_by_lines = not console.is_terminal
        self._first = True
        self._warned: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def phase(self, description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Shows a progress bar, or without a terminal a line on the standard error now and then; the callback
        receives how much of `total` is done."""
        if self._tells_by_lines:
            yield _by_lines(description, total)
            return
        # With a total of one, the bar would only jump from 0 to 100 %.
        task = self._progress.add_task(description, total=total, visible=total != 1)
        yield lambda done: self._progress.update(task, completed=done)
        self._progress.remove_task(task)

    def show(self, path: Path, result: "tuple[Tagging, ...] | ImageError") -> None:
        """Prints one photograph's tags from each vocabulary, or its error to the standard error."""
        if isinstance(result, ImageError):
            complain(printable(path), result)
        else:
            self.warn(result)
        if self._as_json:
            content = (
                {"error": result.problem().model_dump()}
                if isinstance(result, ImageError)
                else _content(result)
            )
            print(json.dumps({"path": with_address(path), **content}), flush=True)
        elif not isinstance(result, ImageError):
            self._show_tables(path, result)

    def warn(self, taggings: "tuple[Tagging, ...]") -> None:
        """Prints warnings about labels to the standard error, each once."""
        for tagging in taggings:
            for warning in tagging.warnings:
                if (told := (tagging.vocabulary.hash, warning.label)) not in self._warned:
                    self._warned.add(told)
                    print(f"'{warning.label}': {warning.message}", file=sys.stderr, flush=True)

    def tell(self, text: str) -> None:
        """Prints a line after the results, unless the output is JSON."""
        if not self._as_json:
            self._out.print(Text(text), soft_wrap=True)

    def _show_tables(self, path: Path, taggings: "tuple[Tagging, ...]") -> None:
        if not self._first:
            self._out.print()
        self._first = False
        self._out.print(Text(printable(path), "bold"), soft_wrap=True)
        for tagging in taggings:
            if len(taggings) > 1:
                self._out.print(Text(f"  {tagging.vocabulary.name}", "italic"), soft_wrap=True)
            if not any(tag.accepted for tag in tagging.tags):
                self._out.print(Text(f"  {NOTHING}", "dim"))
            if tagging.tags or tagging.guesses:
                self._out.print(self._table(tagging.tags, tagging.guesses))
            if tagging.implied:
                also = ", ".join(tag.label for tag in tagging.implied)
                self._out.print(Text(f"  also: {also}", "dim"), soft_wrap=True)

    def _table(self, tags: tuple["Tag", ...], guesses: tuple["Tag", ...]) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=2)
        table.add_column(overflow="fold")
        table.add_column(min_width=_BAR_WIDTH, no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        ascii_only = self._out.options.ascii_only
        for tag in tags:
            table.add_row(
                "",
                Text(tag.label),
                Text(bar(tag.probability, ascii_only), "green" if tag.accepted else ""),
                percent(tag.probability),
                "" if tag.accepted else why_not(tag),
                style="" if tag.accepted else "dim",
            )
        for tag in guesses:
            measure = bar(tag.probability, ascii_only)
            table.add_row(
                "", Text(f"a guess: {tag.label}"), measure, percent(tag.probability), "", style="dim"
            )
        return table
