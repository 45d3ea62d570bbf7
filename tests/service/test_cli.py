import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sample_images as samples
from fake_engine import FakeEngine

from sigrl.service import cli
from sigrl.service import terminal as rendering
from sigrl.service.commands.tag import SOME_FAILED


@pytest.fixture(autouse=True)
def _fake_engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "below/c.webp", ".hidden.jpg", ".thumbnails/d.jpg", "notes.txt"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(samples.jpeg())
    return tmp_path / "album"


def test_tag_prints_a_table_by_default(sigrl, photograph: Path) -> None:
    status, out, err = sigrl("tag", photograph, "--labels", "red, green,blue")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(photograph)
    assert {line.split()[0] for line in lines[1:]} == {"red", "blue"}
    assert all("█" in line and line.endswith(" %") for line in map(str.rstrip, lines[1:]))


def test_table_shows_guesses_and_labels_below_threshold(sigrl, photograph: Path) -> None:
    nothing, *guesses = sigrl("tag", photograph, "--labels", "green,black")[1].splitlines()[1:]
    assert nothing.strip() == "nothing recognised with confidence"
    assert {line.strip().split("  ")[0] for line in guesses} == {"a guess: black", "a guess: green"}
    out = sigrl("tag", photograph, "--labels", "green", "--top-k", "3")[1]
    assert "<1 %" in out
    assert "below 50 %" in out


def test_json_output_has_one_object_per_line(sigrl, album: Path, tagger) -> None:
    (album / "a.png").write_bytes(b"garbage")
    status, out, err = sigrl("tag", album, "--json", "--labels", '["red", "salt, pepper"]', "--top-k", "1")
    assert status == SOME_FAILED
    bad, good, below = (json.loads(line) for line in out.splitlines())
    assert [Path(line["path"]).name for line in (bad, good, below)] == ["a.png", "b.JPG", "c.webp"]
    assert bad["error"]["type"] == "urn:sigrl:problem:unsupported-image"
    expected = tagger.tag(album / "b.JPG", ["red", "salt, pepper"], top_k=1).model_dump(mode="json")
    assert good == {"path": str(album / "b.JPG"), **expected}
    assert len(err.splitlines()) == 1


def test_folder_is_searched_without_hidden_files(sigrl, album: Path) -> None:
    out = sigrl("tag", album, album / "notes.txt", "--labels", "red")[1]
    names = [Path(line).name for line in out.splitlines() if line.startswith("/")]
    assert names == ["a.png", "b.JPG", "c.webp", "notes.txt"]


def test_failed_image_sets_the_exit_status_and_is_reported(sigrl, photograph: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad\x1b[31m.jpg"
    bad.write_bytes(samples.jpeg()[:200])
    status, out, err = sigrl("tag", bad, photograph, "--labels", "red")
    assert status == SOME_FAILED
    assert str(photograph) in out
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1
    assert "bad" in err
    assert "check that the file is complete" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tag"], "PHOTO"),
        (["tag", "absent.jpg"], "absent.jpg"),
        (["tag", "x" * 5000], "no file"),
        (["tag", "."], "no photograph"),
        (["tag", "PHOTO", "--labels", ""], "no label"),
        (["tag", "PHOTO", "--labels", "dog,dog"], "twice"),
        (["tag", "PHOTO", "--labels", "dog", "--vocabulary", "voc20"], "both"),
        (["tag", "PHOTO", "--vocabulary", "absent.txt"], "absent.txt"),
        (["tag", "PHOTO", "--vocabulary", "PHOTO"], "UTF-8"),
        (["tag", "PHOTO", "--top-k", "0"], "top-k"),
        (["tag", "PHOTO", "--threshold", "2"], "threshold"),
        (["tag", "PHOTO", "--threshold", "nan"], "threshold"),
        (["tag", "PHOTO", "--nonsense"], "nonsense"),
        (["nonsense"], "nonsense"),
    ],
)
def test_invalid_usage_is_rejected(
    sigrl,
    photograph: Path,
    tmp_path_factory,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    status, out, err = sigrl(*(photograph if each == "PHOTO" else each for each in arguments))
    assert status == cli.BAD_USAGE
    assert out == ""
    assert says in err


def test_invalid_settings_are_reported_by_name(
    sigrl, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGRL_PORT", "many")
    status, _, err = sigrl("tag", photograph)
    assert status == cli.BAD_USAGE
    assert "SIGRL_PORT is 'many'" in err


def test_vocabulary_option_accepts_a_name_or_a_file(sigrl, photograph: Path, tmp_path: Path) -> None:
    own = tmp_path / "colours.txt"
    own.write_text("# mine\nred\ngreen\n")
    line = json.loads(sigrl("tag", photograph, "--vocabulary", own, "--json")[1])
    assert (line["vocabulary"]["name"], [tag["label"] for tag in line["tags"]]) == ("colours", ["red"])
    line = json.loads(sigrl("tag", photograph, "--vocabulary", "coco80", "--json", "--threshold", "0")[1])
    assert len(line["tags"]) == 80


def test_version_and_help_load_no_heavy_modules(sigrl) -> None:
    status, out, _ = sigrl("--version")
    assert status == 0
    assert out.startswith("sigrl-tagger ")
    code = (
        "import sys, sigrl.service.cli;"
        "sys.exit(bool({'torch', 'numpy', 'PIL', 'fastapi', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in Linux's /proc")
def test_numpy_starts_no_busy_waiting_threads() -> None:
    code = (
        "import os, sys, time; sys.argv = ['sigrl', '--version']\n"
        "from sigrl.service.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import numpy as np; square = np.ones((300, 300), np.float32); square @ square\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "1", done.stderr


@pytest.mark.parametrize(
    ("probability", "text", "blocks", "hashes"),
    [
        (0.0, "0 %", "", ""),
        (0.001, "<1 %", "", ""),
        (0.5, "50 %", "█" * 10, "#" * 10),
        (0.999, ">99 %", "█" * 20, "#" * 20),
        (1.0, "100 %", "█" * 20, "#" * 20),
        (0.03, "3 %", "▋", "#"),
    ],
)
def test_percent_and_bar_rendering(probability: float, text: str, blocks: str, hashes: str) -> None:
    assert rendering.percent(probability) == text
    assert rendering.bar(probability) == blocks
    assert rendering.bar(probability, ascii_only=True) == hashes


def test_labels_are_not_parsed_as_markup(sigrl, photograph: Path) -> None:
    out = sigrl("tag", photograph, "--labels", '["[red]x[/red]", ":dog:"]', "--top-k", "2")[1]
    assert "[red]x[/red]" in out
    assert ":dog:" in out


def test_unreadable_sub_folder_is_reported(album: Path, monkeypatch: pytest.MonkeyPatch, sigrl) -> None:
    def scandir(folder: object) -> object:
        if str(folder).endswith("below"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    real = os.scandir
    monkeypatch.setattr("os.scandir", scandir)
    status, out, err = sigrl("tag", album)
    assert (status, out) == (cli.BAD_USAGE, "")
    assert "below' cannot be read: Permission denied" in err
