"""`sigrl tag DIR --out FILE`."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sample_images as samples
from fake_engine import FakeEngine
from two_checkpoints import LONG, serving, wait_until

from sigrl.service.app import create_app
from sigrl.service.bulk.job import tag_in_bulk
from sigrl.service.bulk.ledger import Ledger, stamp_of_file
from sigrl.service.bulk.tag_sources import LocalSource
from sigrl.service.errors import ParameterError
from sigrl.service.images.folders import find_photographs
from sigrl.service.schemas.tagging import VocabularyInfo
from sigrl.service.settings import Settings
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.terminal import Renderer
from sigrl.service.vocabularies.builtin import from_names

SERVICE_TESTS = Path(__file__).parents[1]
# The fake engine is slow, so that there is time to kill it.
COMMAND = """
import sys, sigrl.service.tagging.tagger
from fake_engine import FakeEngine
from sigrl.service import cli
sigrl.service.tagging.tagger.load_engine = lambda *_: FakeEngine(delay=0.05)
cli.main()
"""


@pytest.fixture(autouse=True)
def _fake_engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "below").mkdir(parents=True)
    for name in ("a.jpg", "below/b.jpg", "c.jpg", "höf\udcff.jpg"):
        (folder / name).write_bytes(samples.jpeg())
    (folder / "damaged.jpg").write_bytes(samples.jpeg()[:300])
    return folder


def _run(
    sigrl: Callable[..., tuple[int, str, str]], album: Path, out: Path, *options: object
) -> tuple[int, str]:
    status, told, err = sigrl("tag", album, "--labels", "red,green", "--out", out, *options)
    return status, told + err


def test_all_output_formats_match_the_tag_command(sigrl, album: Path, tmp_path: Path) -> None:
    shown = sigrl("tag", album, "--labels", "red,green", "--json", "--threshold", "0")[1]
    expected = [json.loads(line) for line in shown.splitlines()]
    expected = sorted(
        (each for each in expected if "tags" in each), key=lambda each: os.fsencode(each["path"])
    )
    for suffix in ("jsonl", "csv", "parquet"):
        status, told = _run(sigrl, album, tmp_path / f"tags.{suffix}", "--threshold", "0")
        assert status == 1
        assert told == f"{tmp_path}/tags.{suffix}: 4 photographs, 1 failed: see {tmp_path}/tags.errors.csv\n"
    lines = (tmp_path / "tags.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    paths = [each["path"].replace("\udcff", "\ufffd") for each in expected]
    rows = pq.read_table(tmp_path / "tags.parquet").to_pylist()
    assert [(row["path"], row["tags"]) for row in rows] == [
        (path, each["tags"]) for path, each in zip(paths, expected, strict=True)
    ]
    assert {row["vocabulary_hash"] for row in rows} == {expected[0]["vocabulary"]["hash"]}
    with (tmp_path / "tags.csv").open(encoding="utf-8", newline="") as file:
        cells = [(row["path"], row["label"], float(row["probability"])) for row in csv.DictReader(file)]
    assert cells == [
        (path, tag["label"], tag["probability"])
        for path, each in zip(paths, expected, strict=True)
        for tag in each["tags"]
    ]
    with (tmp_path / "tags.errors.csv").open(encoding="utf-8", newline="") as file:
        (failure,) = csv.DictReader(file)
    assert (failure["path"], failure["error"]) == (str(album / "damaged.jpg"), "damaged-image")


def test_fiftyone_dataset_is_written(sigrl, album: Path, tmp_path: Path) -> None:
    """tests/clients/test_fiftyone.py opens one."""
    out = tmp_path / "tags.fiftyone.json"
    assert _run(sigrl, album, out, "--threshold", "0")[0] == 1
    dataset = json.loads(out.read_text())
    assert (dataset["name"], dataset["media_type"]) == ("tags", "image")
    samples_by_name = {Path(each["filepath"]).name: each for each in dataset["samples"]}
    assert samples_by_name.keys() == {"a.jpg", "b.jpg", "c.jpg", "höf\ufffd.jpg"}
    found = samples_by_name["a.jpg"]["sigrl"]
    assert found["_cls"] == "Classifications"
    assert [tag["label"] for tag in found["classifications"]] == ["red", "green"]
    assert all(tag["accepted"] and tag["threshold"] == 0 for tag in found["classifications"])
    assert _run(sigrl, album, tmp_path / "tags.json")[0] == 2


def test_finished_images_are_not_tagged_again(sigrl, album: Path, tmp_path: Path, engine: FakeEngine) -> None:
    out = tmp_path / "tags.jsonl"
    _run(sigrl, album, out)
    first, seen = out.read_text(), sum(engine.batches)
    assert _run(sigrl, album, out)[0] == 1
    assert (out.read_text(), sum(engine.batches)) == (first, seen)
    # One photograph is new, one has changed, one is repaired and one is gone.
    (album / "new.jpg").write_bytes(samples.jpeg())
    (album / "damaged.jpg").write_bytes(samples.jpeg())
    (album / "c.jpg").unlink()
    os.utime(album / "a.jpg", ns=(1, 1))
    status, told = _run(sigrl, album, out)
    assert (status, told) == (0, f"{out}: 5 photographs\n")
    assert sum(engine.batches) == seen + 3
    names = [Path(json.loads(line)["path"]).name for line in out.read_text().splitlines()]
    assert names == ["a.jpg", "b.jpg", "damaged.jpg", "höf\udcff.jpg", "new.jpg"]
    assert not (tmp_path / "tags.errors.csv").exists()


def test_killed_run_resumes(sigrl, tmp_path: Path, engine: FakeEngine) -> None:
    album, out = tmp_path / "album", tmp_path / "tags.jsonl"
    album.mkdir()
    for number in range(200):
        (album / f"{number:03}.jpg").write_bytes(samples.jpeg())
    ledger = tmp_path / "tags.jsonl.ledger"
    paths = os.pathsep.join([str(SERVICE_TESTS), str(SERVICE_TESTS.parents[1])])
    command = [sys.executable, "-c", COMMAND, "tag", album, "--labels", "red,green", "--out", out]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    # More than two batches: the first has been committed, not only written.
    wait_until(lambda: ledger.exists() and ledger.read_bytes().count(b'"label":"red"') > 20)
    process.kill()
    assert process.wait(LONG) != 0
    assert not out.exists()
    assert _run(sigrl, album, out) == (0, f"{out}: 200 photographs\n")
    assert 0 < sum(engine.batches) < 200
    assert len(out.read_text().splitlines()) == 200


def test_changed_options_vocabulary_or_checkpoint_are_rejected(
    sigrl, album: Path, tmp_path: Path, engine: FakeEngine
) -> None:
    out = tmp_path / "tags.csv"
    _run(sigrl, album, out)
    before = out.read_text()
    status, told = _run(sigrl, album, out, "--top-k", 3)
    assert (status, "is now top_k 3, and was top_k None for" in told) == (2, True)
    status, told, err = sigrl("tag", album, "--labels", "red,blue", "--out", out)
    assert (status, told, "the vocabulary is now" in err) == (2, "", True)
    engine.checkpoint_id = "sha256:other"
    status, told = _run(sigrl, album, out)
    assert (status, "the checkpoint is now sha256:other" in told) == (2, True)
    assert "tags.csv.ledger" in told
    assert out.read_text() == before


def test_server_run_matches_local_and_rejects_a_changed_checkpoint(
    sigrl, album: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    _run(sigrl, album, here)
    with serving(create_app(Settings(), Tagger(engine=FakeEngine()))) as client:
        assert _run(sigrl, album, there, "--server", client.base_url)[0] == 1
        assert there.read_text() == here.read_text()
    (album / "new.jpg").write_bytes(samples.jpeg())
    other = FakeEngine(checkpoint_id="sha256:other")
    with serving(create_app(Settings(), Tagger(engine=other))) as client:
        status, told = _run(sigrl, album, there, "--server", client.base_url)
    assert (status, "sha256:other" in told) == (2, True)


def test_checkpoint_change_during_a_run_stops_it(album: Path, tmp_path: Path) -> None:
    class Swapping(LocalSource):
        def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
            return "sha256:before", super().made_by()[1]

    source = Swapping(Tagger(engine=FakeEngine()), (from_names(["red"]),), Selection())
    out = tmp_path / "tags.csv"
    with Renderer(as_json=False) as renderer, pytest.raises(ParameterError, match="sha256:before"):
        tag_in_bulk(source, find_photographs([album]), out, "", None, renderer)
    assert not out.exists()


def test_concurrent_run_on_the_same_output_is_rejected(sigrl, album: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "tags.csv.ledger")
    status, told = _run(sigrl, album, tmp_path / "tags.csv")
    assert (status, "another run" in told) == (2, True)
    ledger.close()
    assert _run(sigrl, album, tmp_path / "tags.csv")[0] == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--out", "tags.txt"), ".parquet"),
        (("--out", "/nowhere/tags.csv"), "another --out"),
        (("--out", "tags.csv", "--json"), "no --json"),
        (("--out", "tags.csv", "--vocabulary", "coco80", "--vocabulary", "voc20"), "one vocabulary"),
        (("--sidecar", "xmp"), "needs --out"),
    ],
)
def test_invalid_usage_is_rejected(
    sigrl, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, told, err = sigrl("tag", album, *options)
    assert (status, told, len(err.splitlines())) == (2, "", 1)
    assert says in err


def test_missing_pyarrow_error_names_the_extra(
    sigrl, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, told = _run(sigrl, album, tmp_path / "tags.parquet")
    assert (status, "sigrl-tagger[bulk]" in told) == (2, True)


def test_images_are_listed_page_by_page(tmp_path: Path) -> None:
    """Finds and yields photographs page by page."""
    ledger = Ledger(tmp_path / "x.ledger")
    asked = []

    def found() -> "object":
        for number in range(2500):
            asked.append(number)
            yield tmp_path / f"{number:04}.jpg"

    assert ledger.find(found(), stamp_of_file) == ledger.count_waiting() == 2500
    waiting = ledger.waiting()
    handed = [next(waiting) for _ in range(3)]
    ledger.done([(path, "{}", None) for path in handed])
    assert len(handed) + len(list(waiting)) == 2500
    assert ledger.count_waiting() == 2497
    ledger.close()


def test_progress_lines_are_printed_without_a_terminal(
    sigrl, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, told = _run(sigrl, album, tmp_path / "brief.csv")
    assert "tagging: " not in told
    monkeypatch.setattr("sigrl.service.terminal._LINE_SECONDS", 0.0)
    _, told = _run(sigrl, album, tmp_path / "tags.csv")
    assert "tagging: 5 of 5, " in told
