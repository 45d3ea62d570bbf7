"""`sigrl tag --explain` and `--sheet`: checks their options and runs them."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.images.folders import find_photographs
from sigrl.service.terminal import Renderer, printable

if TYPE_CHECKING:
    from PIL import Image

    from sigrl.service.bulk.tag_sources import ExplainingSource, TagSource
    from sigrl.service.commands.contact_sheet import Sheet

_MOST_SECONDS = 600.0
"""Time limit for decoding one photograph, including the wait for those decoded before it."""


def check_pictures(
    explain: Path | None,
    sheet: Path | None,
    photographs: Sequence[Path],
    vocabularies: Sequence[str],
    *,
    out: Path | None,
    as_json: bool,
    sets_thresholds: bool,
) -> None:
    """Raises ParameterError for options that do not fit, before a model is loaded."""
    from sigrl.service.drawing.files import check_target

    if explain is None and sheet is None:
        return
    option = "--sheet" if explain is None else "--explain"
    if out is not None or len(vocabularies) > 1 or (explain is not None and sheet is not None):
        raise ParameterError(
            f"{option} takes one vocabulary and cannot be combined with --out or the other picture",
            "run the command once for each",
        )
    if sheet is not None:
        if as_json:
            raise ParameterError("--sheet cannot be combined with --json", "leave out one of them")
        check_target(option, sheet)
    if explain is not None:
        if len(photographs) > 1 or photographs[0].is_dir():
            given = "a folder is given" if photographs[0].is_dir() else f"{len(photographs)} are given"
            raise ParameterError(
                f"--explain draws one photograph, but {given}", "give one file; --sheet draws many"
            )
        if sets_thresholds:
            detail = "--explain takes no --threshold, --false-positive-rate, --precision or --recall"
            raise ParameterError(detail, "choose the number of labels with --top-k")
        check_target(option, explain)


def explain_photograph(
    renderer: Renderer,
    opened: "AbstractContextManager[ExplainingSource]",
    photographs: Sequence[Path],
    out: Path,
    top_k: int | None,
) -> bool:
    """Draws the explanation of the only photograph; returns whether it failed."""
    (path,) = find_photographs(photographs)
    with opened as source:
        from sigrl.service.commands import explaining

        try:
            explanation = explaining.explain_photograph(source, path, out, top_k, small_copy)
        except ImageError as error:
            renderer.show(path, error)
            return True
    renderer.show(path, (explanation,))
    renderer.tell(f"{printable(out)}: where these labels are seen")
    return False


def draw_sheet(
    renderer: Renderer,
    opened: "AbstractContextManager[TagSource]",
    photographs: Sequence[Path],
    out: Path,
    top_k: int | None,
) -> bool:
    """Draws a contact sheet; returns whether some photographs failed."""
    from sigrl.service.commands import contact_sheet

    paths = contact_sheet.without_pages(list(find_photographs(photographs)), out)
    with opened as source:
        sheet = contact_sheet.draw_sheet(source, paths, out, top_k, small_copy, renderer)
    renderer.tell(_in_words(sheet))
    return sheet.failed > 0


def small_copy(path: Path, side: int) -> "Image.Image":
    """A photograph in RGB, with no side over `side` pixels. Large and unusual files are decoded in another
    process, which is ended if that takes too long. Raises ImageError."""
    from sigrl.service.images.decoder_pool import pool_of
    from sigrl.service.images.decoding import decode
    from sigrl.service.images.files import ImageLimits, read
    from sigrl.service.settings import load_settings

    settings = load_settings()
    limits = ImageLimits.of(settings)
    data, deadline = read(path, limits), time.monotonic() + _MOST_SECONDS
    return decode(pool_of(settings).small_copy(data, limits, deadline, side))


def _in_words(sheet: "Sheet") -> str:
    first, *others = sheet.pages
    files = printable(first) + (f" to {printable(others[-1])}" if others else "")
    photographs = f"{sheet.photographs:,} photograph{'' if sheet.photographs == 1 else 's'}"
    return f"{files}: {photographs}{f', {sheet.failed:,} failed' if sheet.failed else ''}"
