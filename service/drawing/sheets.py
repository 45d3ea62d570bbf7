"""Draws a page of a contact sheet: a grid of photographs, each above its tags."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from sigrl.service.drawing.lettering import lettering
from sigrl.service.schemas.tagging import Tag
from sigrl.service.terminal import NOTHING, percent

PHOTOGRAPH = 300, 225
"""Size in pixels (width, height) of the box that each photograph is scaled to fit."""
COLUMNS, ROWS = 5, 6
_GAP = 20
_INK, _DIM, _GREY = "#1a1a1a", "#6b6b6b", "#d4d4d4"
_HEAD, _TEXT, _SMALL = lettering(22), lettering(17), lettering(14)
_MOST_TAGS = 12
_TAGS = 5
"""Lines of tags by default."""


@dataclass(frozen=True)
class Tile:
    """One photograph on a sheet."""

    name: str
    content: Image.Image | str
    """The photograph, RGB and no larger than `PHOTOGRAPH`, or the reason why it is missing."""
    tags: tuple[Tag, ...] = ()
    """Best first."""
    implied: tuple[Tag, ...] = ()
    """Accepted tags that a narrower one among `tags` implies."""
    guesses: tuple[Tag, ...] = ()
    """The most probable labels if there are no tags."""


def draw_page(tiles: Sequence[Tile], heading: str, top_k: int | None = None) -> Image.Image:
    """Draws up to 30 photographs under a heading, each with its first `top_k` tags: five by default, at most
    twelve. The number of tags left out is shown."""
    most = min(top_k or _TAGS, _MOST_TAGS)
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [
        PHOTOGRAPH[1] + _SMALL.height + max(_lines(tile, most) for tile in row) * _TEXT.height + _GAP
        for row in rows
    ]
    width = _GAP + len(rows[0]) * (PHOTOGRAPH[0] + _GAP)
    top = _GAP + _HEAD.height + _GAP // 2
    page = Image.new("RGB", (width, top + sum(heights)), "white")
    canvas = ImageDraw.Draw(page)
    _HEAD.draw(canvas, (_GAP, _GAP), _HEAD.cut(heading, width - 2 * _GAP), _INK)
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = _GAP + column * (PHOTOGRAPH[0] + _GAP)
            _draw_content(page, (left, top), tile.content)
            _draw_texts(canvas, (left, top + PHOTOGRAPH[1] + 2), tile, most)
        top += height
    return page


def _lines(tile: Tile, most: int) -> int:
    if isinstance(tile.content, str):
        return 1
    if not tile.tags:
        return 1 + len(tile.guesses)
    return min(len(tile.tags), most) + (len(tile.tags) > most) + bool(tile.implied)


def _draw_content(page: Image.Image, corner: tuple[int, int], content: Image.Image | str) -> None:
    left, top = corner
    width, height = PHOTOGRAPH
    if isinstance(content, Image.Image):
        page.paste(content, (left + (width - content.width) // 2, top + (height - content.height) // 2))
        return
    canvas = ImageDraw.Draw(page)
    canvas.rectangle((left, top, left + width - 1, top + height - 1), _GREY)
    lines = _TEXT.lines(content, width - 2 * _GAP, (height - _GAP) // _TEXT.height)
    start = top + (height - len(lines) * _TEXT.height) // 2
    for number, line in enumerate(lines):
        place = left + (width - _TEXT.width(line)) / 2, start + number * _TEXT.height
        _TEXT.draw(canvas, place, line, _INK)


def _draw_texts(canvas: ImageDraw.ImageDraw, corner: tuple[int, int], tile: Tile, most: int) -> None:
    left, top = corner
    width = PHOTOGRAPH[0]
    _SMALL.draw(canvas, (left, top), _SMALL.cut(tile.name, width), _DIM)
    top += _SMALL.height
    if not tile.tags and not isinstance(tile.content, str):
        _TEXT.draw(canvas, (left, top), _TEXT.cut(NOTHING, width), _DIM)
        top += _TEXT.height
    for tag in tile.tags[:most] or tile.guesses:
        colour, number = _INK if tag.accepted else _DIM, percent(tag.probability)
        room = width - _TEXT.width(number)
        label = tag.label if tile.tags else f"a guess: {tag.label}"
        _TEXT.draw(canvas, (left, top), _TEXT.cut(label, room - 10), colour)
        _TEXT.draw(canvas, (left + room, top), number, colour)
        top += _TEXT.height
    if len(tile.tags) > most:
        _TEXT.draw(canvas, (left, top), f"and {len(tile.tags) - most} more", _DIM)
        top += _TEXT.height
    if tile.implied:
        also = ", ".join(tag.label for tag in tile.implied)
        _TEXT.draw(canvas, (left, top), _TEXT.cut(f"also: {also}", width), _DIM)
