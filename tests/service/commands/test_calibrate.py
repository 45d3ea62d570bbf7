import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fake_engine import FakeEngine
from PIL import Image
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

COLOURS = "/v1/vocabularies/colours"


@pytest.fixture
def server(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    engine.has_background = True
    with serving(create_app(Settings(), Tagger(engine=engine))) as client:
        client.put(COLOURS, json=["red", "green", "blue", "violin"])
        monkeypatch.setenv("SIGRL_SERVER", str(client.base_url))
        yield client


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """40 photographs from dark to bright red; only the brightest are labelled red."""
    (tmp_path / "photographs").mkdir()
    lines = ["image,positive,negative"]
    for red in range(100, 256, 4):
        Image.new("RGB", (40, 40), (red, 0, 0)).save(tmp_path / "photographs" / f"{red}.png")
        lines.append(f"{red}.png,{'red' if red > 220 else ''},{'green' if red > 220 else 'RED;blue'}")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def _calibration(server: httpx.Client) -> object:
    return server.get(COLOURS).json()["calibration"]


def test_calibrate_sends_images_in_batches_and_prints_thresholds(
    sigrl, server: httpx.Client, labels: Path
) -> None:
    command = ("vocab", "calibrate", "colours", labels, "--photographs", labels.parent / "photographs")
    status, out, err = sigrl(*command)
    assert (status, err) == (0, "")
    report = server.get(f"{COLOURS}/calibration").json()
    assert (report["examples"], report["vocabulary"]["calibration"]) == (39, 2)
    heading, red, green, blue, violin, told, *warnings = out.splitlines()
    assert heading.split() == ["label", "positives", "negatives", "threshold"]
    threshold = report["labels"][0]["threshold"]
    assert red.split() == ["red", "8", "31", "0.50", "→", f"{threshold:.2f}"]
    assert threshold != 0.5
    assert [line.split()[:3] for line in (green, blue, violin)] == [
        ["green", "0", "8"],
        ["blue", "0", "31"],
        ["violin", "0", "0"],
    ]
    assert told == "calibration 2, from 39 photographs"
    assert any(line.startswith("present in no everyday photograph") and "violin" in line for line in warnings)
    # Repeating it changes nothing; with --replace, there are no other examples.
    assert "calibration 4, from 39 photographs" in sigrl(*command)[1]
    assert "calibration 6, from 39 photographs" in sigrl(*command, "--replace")[1]
    few = labels.with_suffix(".jsonl")
    lines = [{"image": "252.png", "positive": ["red"]}, {"image": "252.png", "negative": ["blue"]}]
    few.write_text("\n".join(map(json.dumps, lines)))
    out = sigrl("vocab", "calibrate", "colours", few, *command[4:], "--replace")[1]
    assert "calibration 7, from 1 photograph\n" in out


@pytest.mark.usefixtures("server")
def test_contradicting_examples_are_reported(sigrl, tmp_path: Path) -> None:
    for red in (20, 200, 250):
        Image.new("RGB", (40, 40), (red, 0, 0)).save(tmp_path / f"{red}.png")
    path = tmp_path / "labels.csv"
    path.write_text("image,positive,negative\n250.png,,red\n200.png,red,\n20.png,,red\n")
    status, out, _ = sigrl("vocab", "calibrate", "colours", path)
    assert status == 0
    assert "red: 1 example will be tagged against the mark" in out
    assert "green:" not in out


def test_calibrate_accepts_another_goal(sigrl, server: httpx.Client, labels: Path) -> None:
    command = ("vocab", "calibrate", "colours", labels, "--photographs", labels.parent / "photographs")
    assert sigrl(*command, "--goal", "precision", "--value", "0.9")[0] == 0
    assert server.get(f"{COLOURS}/calibration").json()["goal"] == {"kind": "precision", "value": 0.9}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--value": "0.9"}, "takes no --value"),
        ({"--goal": "precision"}, "needs a --value"),
        ({"--photographs": "PARENT"}, "which does not exist"),
        ({"NAME": "nobodys"}, "nobodys"),
        ({"FILE": "absent.csv"}, "absent.csv is not there"),
        ({"LINE": "100.png,purple,"}, "41: the vocabulary 'colours' has no label 'purple'"),
        ({"LINE": "broken.png,red,"}, "broken.png"),
        ({"--server": "http://127.0.0.1:1"}, "does not answer"),
    ],
)
def test_invalid_input_is_reported_in_one_line(
    sigrl, server: httpx.Client, labels: Path, change: dict[str, str], told: str
) -> None:
    folder = labels.parent / "photographs"
    (folder / "broken.png").write_bytes(b"\x89PNG...")
    if line := change.pop("LINE", ""):
        labels.write_text(f"{labels.read_text()}\n{line}")
    name, file = change.pop("NAME", "colours"), change.pop("FILE", labels)
    options = {"--photographs": folder, **change}
    if change.get("--photographs"):
        options["--photographs"] = labels.parent
    arguments = [part for option in options.items() for part in option]
    status, out, err = sigrl("vocab", "calibrate", name, file, *arguments)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert told in err
    # The error says what was stored before the broken photograph.
    taken = "32 of 40 photographs sent before" in err
    assert taken == (_calibration(server) is not None) == ("broken" in told)
