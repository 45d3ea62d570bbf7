"""Text in pictures: labels are in anybody's language, and the font that comes with Pillow has ASCII alone."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

# What systems have, those with the most letters first. Where Pillow looks for them is its business.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "segoeui.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
)
_NOWHERE = "\U0010fffe"
"""A code point that is no character: a font draws for it what it draws for all it does not have."""
# What Unicode does not decompose: strokes, a dotless i, dashes; and what is two letters.
_SPELT = str.maketrans("ØøŁłĐđ\u0131\u2013\u2014\ufffd", "OoLlDdi--?") | str.maketrans(
    {"ß": "ss", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Þ": "Th", "þ": "th"}
)


@cache
def lettering(size: int) -> "Lettering":
    """Text of a size in pixels."""
    return Lettering(size)


class Lettering:
    """Measures and draws lines of text. A text is drawn in the first font that has all of it, else in
    several; letters that none has are spelt in ASCII as far as they can be, and are question marks else."""

    def __init__(self, size: int) -> None:
        self.height = round(size * 1.3)
        """From line to line."""
        self._size = size
        self._baseline = size

    def width(self, text: str) -> float:
        """In pixels."""
        return sum(font.getlength(part) for font, part in self._parts(text))

    def draw(self, canvas: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str) -> None:
        """One line, `place` being its upper left corner."""
        left, top = place
        for font, part in self._parts(text):
            canvas.text((left, top + self._baseline), part, colour, font, anchor="ls")
            left += font.getlength(part)

    def cut(self, text: str, width: float) -> str:
        """As much of the beginning as is no wider."""
        if self.width(text) <= width:
            return text
        fits = max((n for n in range(len(text)) if self.width(text[:n] + "...") <= width), default=0)
        return text[:fits].rstrip() + "..."

    def lines(self, text: str, width: float, most: int) -> list[str]:
        """The text broken between words, the last of `most` lines cut."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".lstrip()
            if not lines[-1] or self.width(longer) <= width:
                lines[-1] = longer
            elif len(lines) < most:
                lines.append(word)
            else:
                # One word more than there is room for: it is cut below.
                lines[-1] = longer
        return [self.cut(line, width) for line in lines]

    def _parts(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        # Formatting characters have no picture of their own.
        text = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
        for font in self._fonts():
            if all(_has(font, character) for character in text):
                yield font, text
                return
        replaced = "".join(c if self._font_of(c) else _spelt(c) for c in text)
        for found, characters in groupby(replaced, self._font_of):
            assert found is not None, "ASCII is in the font that is always there"
            yield found, "".join(characters)

    def _font_of(self, character: str) -> ImageFont.FreeTypeFont | None:
        return next((font for font in self._fonts() if _has(font, character)), None)

    def _fonts(self) -> Iterator[ImageFont.FreeTypeFont]:
        """The one that is always there first, so that pictures look alike everywhere as far as they can."""
        yield _own(self._size)
        for name in _FONTS:
            if (font := _of_system(name, self._size)) is not None:
                yield font


def _spelt(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", character.translate(_SPELT))
    return decomposed.encode("ascii", "ignore").decode() or "?"


@cache
def _own(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font


@cache
def _of_system(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@cache
def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return character.isspace() or _look(font, character) != _look(font, _NOWHERE)


@cache
def _look(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
