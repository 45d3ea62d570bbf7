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
def test_what_no_font_has_is_spelt_as_far_as_it_can_be(text: str, drawn: str) -> None:
    assert "".join(part for _, part in Lettering(20)._parts(text)) == drawn


def test_one_font_that_has_all_of_a_text_draws_all_of_it() -> None:
    try:
        ImageFont.truetype("DejaVuSans.ttf")
    except OSError:
        pytest.skip("the font is not installed")
    parts = list(Lettering(20)._parts("Straße mit Bäumen"))
    assert [(font.getname()[0], part) for font, part in parts] == [("DejaVu Sans", "Straße mit Bäumen")]


@pytest.mark.parametrize("text", ["", "x", "word " * 40, "w" * 200, "犬" * 200, "a b\tc\u3000d"])
def test_lines_are_no_wider_and_no_more_than_there_is_room_for(text: str) -> None:
    letters = Lettering(20)
    lines = letters.lines(text, 150, 2)
    assert 1 <= len(lines) <= 2
    assert all(letters.width(line) <= 150 for line in lines)
    assert letters.cut("short", 150) == "short"


def test_letters_stay_within_their_line() -> None:
    letters = Lettering(20)
    picture = Image.new("L", (400, 3 * letters.height))
    letters.draw(ImageDraw.Draw(picture), (50, letters.height), "Ágjpqy|()", "white")
    left, top, right, bottom = picture.getbbox()
    assert left >= 49
    assert right <= 51 + letters.width("Ágjpqy|()")
    assert letters.height - 2 <= top < bottom <= 2 * letters.height
