"""`sigrl tag FILM`: when tags are seen, a contact sheet, and films that are damaged or hang."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sample_images as samples
from fake_engine import FakeEngine

from sigrl.service.errors import DamagedImageError
from sigrl.service.images import films
from sigrl.service.images.files import ImageLimits
from sigrl.service.images.films import take_frames

av = pytest.importorskip("av")

RATE = 10
COLOURS = {"red": (220, 0, 0), "green": (0, 220, 0), "blue": (0, 0, 220)}


def write_film(path: Path, scenes: list[tuple[str, float]]) -> Path:
    """A film of single colours, each for so many seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for colour, seconds in scenes:
            for _ in range(round(seconds * RATE)):
                picture = np.full((96, 128, 3), COLOURS[colour], np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def film(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)
    return write_film(tmp_path / "film.mp4", [("red", 5.0), ("blue", 0.8), ("red", 2.2)])


def test_json_output_lists_the_times_of_each_tag(sigrl, film: Path) -> None:
    status, out, err = sigrl("tag", film, "--labels", "red,green,blue", "--json")
    assert (status, err) == (0, "")
    answer = json.loads(out)
    seconds = [frame["seconds"] for frame in answer["frames"]]
    # Every two seconds, and where the colour changes.
    assert seconds == pytest.approx([0.0, 2.0, 4.0, 5.0, 6.0], abs=0.5)
    times = {tag["label"]: tag["times"] for tag in answer["tags"]}
    assert times.keys() == {"red", "blue"}
    (blue,) = times["blue"]
    assert blue == pytest.approx([5.0, 6.0], abs=0.5)
    assert [span[0] for span in times["red"]] == pytest.approx([0.0, 6.0], abs=0.5)


def test_terminal_output_lists_tags_with_their_times(sigrl, film: Path) -> None:
    status, out, _ = sigrl("tag", film, "--labels", "red,green")
    assert status == 0
    assert "red" in out
    assert "0:00-0:05" in out
    assert "green" not in out


def test_contact_sheet_shows_the_frames(sigrl, film: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    status, out, _ = sigrl("tag", film, "--labels", "red,blue", "--sheet", sheet)
    assert (status, out) == (0, f"{sheet}: 5 frames\n")
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense" * 100, samples.jpeg(), b"#EXTM3U\nhttp://127.0.0.1/x.ts\n"]
)
def test_file_that_is_not_a_film_is_rejected(sigrl, film: Path, content: bytes) -> None:
    film.write_bytes(content)
    status, out, err = sigrl("tag", film, "--labels", "red")
    assert (status, out) == (1, "")
    assert "the film cannot be decoded" in err
    assert "ffmpeg" in err


def test_truncated_film_is_tagged_up_to_its_end(sigrl, tmp_path: Path, film: Path) -> None:
    whole = write_film(tmp_path / "whole.mkv", [("red", 5.0), ("blue", 15.0)])
    film = tmp_path / "cut.mkv"
    film.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    status, out, err = sigrl("tag", film, "--labels", "red", "--json")
    assert status == 1
    assert "the film cannot be decoded" in err
    assert json.loads(out)["tags"][0]["label"] == "red"


def test_hanging_decoder_process_is_killed(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def hanging(_: list[str], **options: object) -> object:
        return popen([sys.executable, "-c", "import time; print({}, flush=True); time.sleep(600)"], **options)

    monkeypatch.setattr(films.subprocess, "Popen", hanging)
    with pytest.raises(DamagedImageError, match="no picture came in time"):
        take_frames(film, tmp_path, ImageLimits(), 0.2, lambda _: None)


def test_frames_above_the_pixel_limit_are_rejected(film: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match="128 x 96 pixels"):
        take_frames(film, tmp_path, ImageLimits(max_pixels=1000), 60, lambda _: None)


@pytest.mark.parametrize("options", [("--out", "tags.csv"), ("--explain", "a.png"), ("photo.jpg",)])
def test_options_not_supported_for_films_are_rejected(
    sigrl, film: Path, photograph: Path, options: tuple[str, ...]
) -> None:
    more = [photograph if option == "photo.jpg" else option for option in options]
    status, _, err = sigrl("tag", film, *more, "--labels", "red")
    assert status == 2
    assert "films" in err
