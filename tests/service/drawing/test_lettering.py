import pytest
from PIL import Image, ImageDraw, ImageFont

from sigrl.service.drawing import lettering
from sigrl.service.drawing.lettering import Lettering


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_FONTS", ())


@pytest.mark.usefixtures("no_system_fonts")
@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("plain", "plain"),
        ("Straße, Łódź, Cafe\u0301", "Strasse, Lodz, Cafe"),
        ("犬 dog", "? dog"),
        ("dog\u200d\u202e", "dog"),
        ("a \N{EN DASH} b", "a - b"),
    ],
)
def test_characters_missing_from_all_fonts_are_transliterated(text: str, drawn: str) -> None:
    assert "".join(part for _, part in Lettering(20)._parts(text)) == drawn


def test_text_covered_by_one_font_is_drawn_with_it() -> None:
    try:
        ImageFont.truetype("DejaVuSans.ttf")
    except OSError:
        pytest.skip("the font is not installed")
    parts = list(Lettering(20)._parts("Straße mit Bäumen"))
    assert [(font.getname()[0], part) for font, part in parts] == [("DejaVu Sans", "Straße mit Bäumen")]


@pytest.mark.parametrize("text", ["", "x", "word " * 40, "w" * 200, "犬" * 200, "a b\tc\u3000d"])
def test_wrapped_lines_fit_the_width_and_line_limit(text: str) -> None:
    letters = Lettering(20)
    lines = letters.lines(text, 150, 2)
    assert 1 <= len(lines) <= 2
    assert all(letters.width(line) <= 150 for line in lines)
    assert letters.cut("short", 150) == "short"


def test_drawn_letters_stay_within_their_line() -> None:
    letters = Lettering(20)
    picture = Image.new("L", (400, 3 * letters.height))
    letters.draw(ImageDraw.Draw(picture), (50, letters.height), "Ágjpqy|()", "white")
    left, top, right, bottom = picture.getbbox()
    assert left >= 49
    assert right <= 51 + letters.width("Ágjpqy|()")
    assert letters.height - 2 <= top < bottom <= 2 * letters.height
