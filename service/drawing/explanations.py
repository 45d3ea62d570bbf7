"""Draws a photograph and the maps of its labels in one picture."""

from PIL import Image, ImageDraw

from sigrl.service.drawing.heat_maps import colours, overlay
from sigrl.service.drawing.lettering import lettering
from sigrl.service.schemas.tagging import Explanation, LabelMap
from sigrl.service.terminal import percent, why_not

PANEL = 440
"""Pixels of the longer side of a photograph in the picture."""
_COLUMNS = 4
_LEAST_WIDTH = 260
"""Pixels of a panel's width, so that the title of a narrow photograph fits."""
_GAP = 24
_INK, _DIM = "#1a1a1a", "#6b6b6b"
_TITLE, _SMALL = lettering(22), lettering(15)
_LEGEND = 160, 14


def draw_explanation(photograph: Image.Image, name: str, explanation: Explanation) -> Image.Image:
    """Draws the photograph (RGB) under the title `name`, and a map for each label of the explanation."""
    image = _panel(photograph)
    width = max(image.width, _LEAST_WIDTH)
    titles = [_TITLE.lines(name, width, 2)]
    titles += [_TITLE.lines(tag.label, width - _room(tag), 2) for tag in explanation.tags]
    guessing = not any(tag.accepted for tag in explanation.tags)
    below = 0 if all(tag.accepted for tag in explanation.tags) else _SMALL.height
    head = max(map(len, titles)) * _TITLE.height + below + 6
    rows = -(-len(titles) // _COLUMNS)
    columns = -(-len(titles) // rows)
    picture = Image.new(
        "RGB",
        (_GAP + columns * (width + _GAP), _GAP + rows * (head + image.height + _GAP) + _SMALL.height + _GAP),
        "white",
    )
    canvas = ImageDraw.Draw(picture)
    panels = [image, *(overlay(image, tag.grid, explanation.square) for tag in explanation.tags)]
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        row, column = divmod(number, columns)
        left, top = _GAP + column * (width + _GAP), _GAP + row * (head + image.height + _GAP)
        for line, text in enumerate(title):
            _TITLE.draw(canvas, (left, top + line * _TITLE.height), text, _INK)
        if number:
            _draw_verdict(canvas, (left, top), width, head, explanation.tags[number - 1], is_guess=guessing)
        picture.paste(panel, (left, top + head))
    _draw_legend(picture, picture.height - _GAP - _SMALL.height, explanation.square is not None)
    return picture


def _panel(photograph: Image.Image) -> Image.Image:
    """The photograph, enlarged if necessary, with a longer side of `PANEL` pixels."""
    scale = PANEL / max(photograph.size)
    size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
    return photograph.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _room(tag: LabelMap) -> float:
    return _TITLE.width(percent(tag.probability)) + 12


def _draw_verdict(
    canvas: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, head: int, tag: LabelMap, is_guess: bool
) -> None:
    left, top = corner
    text = percent(tag.probability)
    _TITLE.draw(canvas, (left + width - _TITLE.width(text), top), text, _INK if tag.accepted else _DIM)
    if not tag.accepted:
        text = _SMALL.cut(f"a guess: {why_not(tag)}" if is_guess else why_not(tag), width)
        _SMALL.draw(canvas, (left, top + head - 6 - _SMALL.height), text, _DIM)


def _draw_legend(picture: Image.Image, top: int, cropped: bool) -> None:
    canvas = ImageDraw.Draw(picture)
    width, height = _LEGEND
    strip = Image.fromarray(
        colours([[step / 31 for step in range(32)]], (width, height)).round().astype("uint8")
    )
    left = _GAP
    _SMALL.draw(canvas, (left, top), "least", _DIM)
    left += round(_SMALL.width("least")) + 8
    picture.paste(strip, (left, top + (_SMALL.height - height) // 2))
    left += width + 8
    text = "most: shows where, not whether" + ("; dark: not seen by the checkpoint" if cropped else "")
    _SMALL.draw(canvas, (left, top), _SMALL.cut(text, picture.width - left - _GAP), _DIM)
