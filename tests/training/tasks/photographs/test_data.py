"""Which photographs and labels are read, and what is said of the others."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_photographs import COLOURS, PHOTOGRAPHS, changed, write_labels
from PIL import Image
from pydantic import ValidationError

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import check_photographs, load_own_data
from sigrl.training.tasks.photographs.run import fit_photographs


def broken_copy(own_data: tuple[Path, list[dict[str, Any]]], root: Path) -> list[dict[str, Any]]:
    """The same with a missing and a corrupt file among the training photographs."""
    (root / "photographs").mkdir()
    for path in (own_data[0] / "photographs").iterdir():
        (root / "photographs" / path.name).write_bytes(path.read_bytes())
    (root / "photographs" / "01.jpg").unlink()
    (root / "photographs" / "03.jpg").write_bytes(b"\xff\xd8 cut off")
    return [dict(line) for line in own_data[1]]


def test_bad_data_stops_training_or_is_skipped_and_counted(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    lines = broken_copy(own_data, tmp_path)
    lines[4] = {**lines[4], "positive": [*lines[4]["positive"], "violet"]}
    lines[5] = {**lines[5], "positive": ["red"], "negative": ["red"]}
    source = {
        "photographs": tmp_path / "photographs",
        "labels": write_labels(tmp_path / "labels.jsonl", lines),
        "vocabulary": [*COLOURS, "unicorn"],
    }
    broken = changed(config, **source)
    found = check_photographs(broken)["train"]
    assert {kind: sum(counts.values()) for kind, counts in found.counts().items()} == {
        "label outside the vocabulary": 1,
        "contradictory labels": 1,
        "missing file": 1,
        "unreadable file": 1,
    }
    assert [one.label for one in found.labels if one.positive == 0] == ["unicorn"]
    with pytest.raises(DataError, match=r"labels\.jsonl:5: 'violet' .* \(3 other problems"):
        fit_photographs(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    data = load_own_data(changed(broken, bad_data="skip"))
    assert data.skipped == {
        "label outside the vocabulary": 1,
        "contradictory labels": 1,
        "missing file": 1,
        "unreadable file": 1,
        "label without photographs": 1,
    }
    assert data.train.label_names == data.validation.label_names == data.vocabulary.names == tuple(COLOURS)
    assert len(data.train) + len(data.validation) == PHOTOGRAPHS - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"1.jpg": b""}, r"01\.jpg cannot be decoded"),
        ({"1.jpg": None}, r"01\.jpg is not there: complete the folder"),
    ],
)
def test_bad_file_is_reported_with_advice(
    config: PhotographsConfig,
    own_data: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    change: dict[str, bytes | None],
    message: str,
) -> None:
    lines = broken_copy(own_data, tmp_path)
    (tmp_path / "photographs" / "03.jpg").write_bytes((own_data[0] / "photographs" / "03.jpg").read_bytes())
    for content in change.values():
        if content is not None:
            (tmp_path / "photographs" / "01.jpg").write_bytes(content)
    labels = write_labels(tmp_path / "labels.jsonl", lines)
    with pytest.raises(DataError, match=message):
        load_own_data(changed(config, photographs=tmp_path / "photographs", labels=labels))


def test_label_without_images_is_reported(config: PhotographsConfig) -> None:
    with pytest.raises(DataError, match=r"'unicorn' applies to no photograph .*: add photographs of it"):
        load_own_data(changed(config, vocabulary=[*COLOURS, "unicorn"]))


def test_synonyms_are_read_as_their_label_and_kept(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    lines = [dict(line) for line in own_data[1]]
    for line in lines[::2]:
        line["positive"] = [{"red": "Scarlet"}.get(name, name) for name in line["positive"]]
    labels = write_labels(tmp_path / "labels.jsonl", lines)
    vocabulary = [{"name": "red", "synonyms": ["scarlet"]}, "green", "blue"]
    data = load_own_data(changed(config, labels=labels, vocabulary=vocabulary))
    plain = load_own_data(changed(config, vocabulary=list(COLOURS)))
    np.testing.assert_array_equal(data.train.labels, plain.train.labels)
    assert data.vocabulary.labels[0].synonyms == ("scarlet",)


def test_separate_validation_file_must_not_share_images(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    lines = own_data[1]
    train, validation = (
        write_labels(tmp_path / name, some)
        for name, some in (("a.jsonl", lines[:30]), ("b.jsonl", lines[30:]))
    )
    data = load_own_data(changed(config, labels=train, validation=str(validation)))
    assert (len(data.train), len(data.validation)) == (30, PHOTOGRAPHS - 30)
    with pytest.raises(DataError, match=r"00\.jpg is in both the training and the validation part"):
        load_own_data(changed(config, validation=str(config.labels)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photographs": None, "labels": None}, "name the data"),
        ({"shards": "x.tar"}, "name the data"),
        ({"photographs": None, "shards": "x.tar"}, "remove `labels`"),
        ({"warm_up_epochs": 9}, "less than"),
    ],
)
def test_contradictory_keys_are_rejected(
    config: PhotographsConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(config, **changes)


def test_check_warns_of_likely_mistakes_in_the_data(tmp_path: Path, tiny_bundle: Path) -> None:
    """An empty folder, a label with one photograph, and one photograph in two folders."""
    for number, name in enumerate(("dog", "dog", "cat", "cat", "otter")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(tmp_path / name / f"{number}.png")
    (tmp_path / "yak").mkdir()
    shutil.copy(tmp_path / "dog" / "0.png", tmp_path / "cat" / "same.png")
    config = PhotographsConfig(start=tiny_bundle, photographs=tmp_path, complete=True)
    report = check_photographs(config)["train"]
    single, empty = report.warnings
    assert "labels with a single photograph" in single
    assert "'otter'" in single
    assert "'yak' has no photographs" in empty
    (copy,) = report.copies
    assert {Path(copy.subject).parent.name} <= {"cat", "dog"}
    assert "other labels" in copy.kind
