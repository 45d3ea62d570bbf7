"""Text in pictures. Labels can be in any language, but the font that ships with Pillow has only ASCII."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

# Common system fonts, those with the most characters first. Pillow knows where to look for them.
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
"""A noncharacter: fonts draw it with the glyph that they use for every missing character."""
# Characters that Unicode does not decompose, and those that become two letters.
_SPELT = str.maketrans("ØøŁłĐđ\u0131\u2013\u2014\ufffd", "OoLlDdi--?") | str.maketrans(
    {"ß": "ss", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Þ": "Th", "þ": "th"}
)


@cache
def lettering(size: int) -> "Lettering":
    """The lettering of a size in pixels."""
    return Lettering(size)


class Lettering:
    """Measures and draws lines of text, in the first font that has all of its characters, or else in several
    fonts. Characters that no font has are transliterated to ASCII, or become question marks."""

    def __init__(self, size: int) -> None:
        self.height = round(size * 1.3)
        """Pixels from line to line."""
        self._size = size
        self._baseline = size

    def width(self, text: str) -> float:
        """The width of a line in pixels."""
        return sum(font.getlength(part) for font, part in self._parts(text))

    def draw(self, canvas: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str) -> None:
        """Draws one line with its upper left corner at `place`."""
        left, top = place
        for font, part in self._parts(text):
            canvas.text((left, top + self._baseline), part, colour, font, anchor="ls")
            left += font.getlength(part)

    def cut(self, text: str, width: float) -> str:
        """The longest beginning of the text that fits into `width` pixels."""
        if self.width(text) <= width:
            return text
        fits = max((n for n in range(len(text)) if self.width(text[:n] + "...") <= width), default=0)
        return text[:fits].rstrip() + "..."

    def lines(self, text: str, width: float, most: int) -> list[str]:
        """Wraps the text between words into at most `most` lines; cuts lines that are too wide."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".lstrip()
            if not lines[-1] or self.width(longer) <= width:
                lines[-1] = longer
            elif len(lines) < most:
                lines.append(word)
            else:
                # The last line may become too wide; it is cut below.
                lines[-1] = longer
        return [self.cut(line, width) for line in lines]

    def _parts(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        # Format characters are invisible.
        text = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
        for font in self._fonts():
            if all(_has(font, character) for character in text):
                yield font, text
                return
        replaced = "".join(c if self._font_of(c) else _spelt(c) for c in text)
        for found, characters in groupby(replaced, self._font_of):
            assert found is not None, "Pillow's font has all of ASCII"
            yield found, "".join(characters)

    def _font_of(self, character: str) -> ImageFont.FreeTypeFont | None:
        return next((font for font in self._fonts() if _has(font, character)), None)

    def _fonts(self) -> Iterator[ImageFont.FreeTypeFont]:
        """Pillow's own font first, so that pictures look as similar as possible on every system."""
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
