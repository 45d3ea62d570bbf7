"""`sigrl tag --sheet`: draws photographs and their tags on the pages of a contact sheet."""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image

from sigrl.model.processors import available_processors
from sigrl.service.bulk.tag_sources import Tagged, TagSource
from sigrl.service.drawing.files import check_target, is_ours, save
from sigrl.service.drawing.sheets import COLUMNS, PHOTOGRAPH, ROWS, Tile, draw_page
from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.terminal import Renderer, printable

PER_PAGE = COLUMNS * ROWS
_DECODERS = min(4, available_processors())


@dataclass(frozen=True)
class Sheet:
    """A contact sheet that was written."""

    pages: tuple[Path, ...]
    photographs: int
    failed: int
    """How many of them could not be tagged and are grey."""


def page_file(out: Path, number: int) -> Path:
    """The path of a page: OUT.jpg, OUT-2.jpg, OUT-3.jpg ..."""
    return out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")


def draw_sheet(
    source: TagSource,
    photographs: Sequence[Path],
    out: Path,
    top_k: int | None,
    copy: Callable[[Path, int], Image.Image],
    renderer: Renderer,
) -> Sheet:
    """Tags photographs and draws them 30 to a page, each with `top_k` tags or five.

    A photograph that cannot be tagged is reported and drawn grey. Each page is written as soon as it is full;
    surplus pages of an earlier sheet are deleted. `photographs` must come from `without_pages`; `copy` is
    `sigrl.service.commands.pictures.small_copy`.

    Raises ParameterError if a page cannot be written, and whatever the source raises.
    """
    total, failed = len(photographs), 0
    pages: list[Path] = []
    names = _names(photographs)
    with renderer.phase("tagging", total) as progress, ThreadPoolExecutor(_DECODERS) as threads:
        tiles: list[Future[Tile]] = []
        for number, (path, result) in enumerate(source.tag(photographs), 1):
            if isinstance(result, ImageError):
                renderer.show(path, result)
            else:
                renderer.warn(result)
            tiles.append(threads.submit(_tile, names[number - 1], (path, result), copy))
            progress(number)
            if len(tiles) == PER_PAGE or number == total:
                heading = f"Photographs {number - len(tiles) + 1:,} to {number:,} of {total:,}"
                drawn = [tile.result() for tile in tiles]
                failed += sum(isinstance(tile.content, str) for tile in drawn)
                pages.append(page_file(out, len(pages) + 1))
                save(draw_page(drawn, heading, top_k), pages[-1])
                tiles.clear()
    for following in count(len(pages) + 1):
        if not is_ours(page_file(out, following)):
            break
        page_file(out, following).unlink()
    return Sheet(tuple(pages), total, failed)


def without_pages(photographs: Sequence[Path], out: Path) -> list[Path]:
    """Drops the pages of an earlier sheet of the same name. Raises ParameterError if no photograph is left,
    or if a page would overwrite another file."""
    name = re.compile(re.escape(out.stem) + r"(-\d+)?" + re.escape(out.suffix))
    left = [path for path in photographs if not (name.fullmatch(path.name) and is_ours(path))]
    if not left:
        raise ParameterError("there are no photographs except pages of earlier sheets", "give other files")
    for number in range(-(-len(left) // PER_PAGE)):
        check_target("--sheet", page_file(out, number + 1))
    return left


def _tile(name: str, tagged: Tagged, copy: Callable[[Path, int], Image.Image]) -> Tile:
    path, result = tagged
    if isinstance(result, ImageError):
        return Tile(name, result.detail)
    (tagging,) = result
    try:
        small = copy(path, 2 * max(PHOTOGRAPH))
    except ImageError as error:
        return Tile(name, error.detail)
    small.thumbnail(PHOTOGRAPH, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Tile(name, small, tagging.tags, tagging.implied, tagging.guesses)


def _names(photographs: Sequence[Path]) -> list[str]:
    """The paths without the folders that they have in common."""
    paths = [os.path.abspath(path) for path in photographs]
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:
        # The paths are on several Windows drives.
        return [printable(path) for path in photographs]
    return [printable(Path(os.path.relpath(path, common))) for path in paths]
