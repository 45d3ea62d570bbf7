"""Bad data is found before training, reported by name, and dropped only if that is configured."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigrl.training.data.check import DataReport, check, without_bad_files, without_empty_labels
from sigrl.training.data.class_folders import read_class_folders
from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem
from sigrl.training.data.folder import label_photographs

LABELS = np.array(
    [[1, -1, 0], [1, 0, 0], [0, -1, 0], [-1, -1, 0], [1, 1, 0], [0, 1, 0], [1, -1, 0]], dtype=np.int8
)
NAMES = ("good.jpg", "truncated.jpg", "absent.jpg", "text.jpg", "good.png", "folder.jpg", "cut.png")
GOOD = ("good.jpg", "good.png")
OUTSIDE = Problem("label outside the vocabulary", "bird", "labels.csv:2: 'bird' is no label: add it")


@pytest.fixture
def photographs(tmp_path: Path) -> LabelledPhotographs:
    noise = np.random.RandomState(0).randint(0, 256, (64, 96, 3), dtype=np.uint8)
    for name in ("good.jpg", "truncated.jpg", "good.png", "cut.png"):
        Image.fromarray(noise).save(tmp_path / name)
    for name in ("truncated.jpg", "cut.png"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    return LabelledPhotographs(
        tuple(tmp_path / name for name in NAMES), ("dog", "cat", "unicorn"), LABELS, NAMES
    )


@pytest.fixture
def report(photographs: LabelledPhotographs) -> DataReport:
    return check(photographs, [OUTSIDE])


def test_every_bad_file_is_reported_with_advice(report: DataReport) -> None:
    found = {Path(problem.subject).name: problem.kind for problem in report.problems[1:]}
    assert found == {
        "truncated.jpg": "unreadable file",
        "absent.jpg": "missing file",
        "text.jpg": "unreadable file",
        "folder.jpg": "missing file",
        "cut.png": "unreadable file",
    }
    for problem in report.problems[1:]:
        assert problem.message.startswith(problem.subject)
        assert re.search(r": (fetch it again|complete the folder), or let .* be skipped$", problem.message)
        assert "\n" not in problem.message
    assert report.problems[0] == OUTSIDE


def test_report_counts_positive_negative_and_unknown_labels(report: DataReport) -> None:
    assert (report.photographs, report.without_positives) == (7, 2)
    counts = [(one.label, one.positive, one.negative, one.unknown) for one in report.labels]
    assert counts == [("dog", 4, 1, 2), ("cat", 2, 4, 1), ("unicorn", 0, 0, 7)]


def test_problems_are_counted_by_kind_and_subject(photographs) -> None:
    told = [OUTSIDE, Problem("label outside the vocabulary", "fish", "..."), *[OUTSIDE] * 2]
    counts = check(photographs, told, decode=False).counts()
    assert list(counts["label outside the vocabulary"].items()) == [("bird", 3), ("fish", 1)]
    assert len(counts["missing file"]) == 2


def test_check_without_decoding_finds_only_missing_files(photographs) -> None:
    kinds = [problem.kind for problem in check(photographs, decode=False).problems]
    assert kinds == ["missing file", "missing file"]


def test_report_round_trips_through_json(report: DataReport) -> None:
    assert DataReport.model_validate_json(report.model_dump_json()) == report


def test_bad_files_stop_training_or_are_skipped(photographs, report: DataReport) -> None:
    with pytest.raises(DataError, match=r"'bird' is no label: add it \(5 other problems: "):
        without_bad_files(photographs, report, "stop")
    kept = without_bad_files(photographs, report, "skip")
    assert kept.ids == GOOD
    np.testing.assert_array_equal(kept.labels, LABELS[[0, 4]])


def test_valid_data_passes_with_stop_and_skip(photographs) -> None:
    sound = photographs.select(np.array([0, 4]))
    report = check(sound)
    assert report.problems == []
    for bad_data in ("stop", "skip"):
        assert without_bad_files(sound, report, bad_data).ids == GOOD


def test_single_problem_is_reported_without_a_summary(photographs) -> None:
    one = photographs.select(np.array([0, 2]))
    with pytest.raises(DataError, match=r"absent\.jpg is not there: .* be skipped$"):
        without_bad_files(one, check(one), "stop")


def test_skipping_all_images_is_an_error(photographs) -> None:
    bad = photographs.select(np.array([1, 2]))
    with pytest.raises(DataError, match=r"none of 2 photographs .*truncated\.jpg cannot be decoded"):
        without_bad_files(bad, check(bad), "skip")
    nothing = photographs.select(np.zeros(7, dtype=bool))
    with pytest.raises(DataError, match=r"none of 0 photographs can be used$"):
        without_bad_files(nothing, check(nothing), "skip")


def test_labels_without_positives_stop_training_or_are_skipped(photographs) -> None:
    with pytest.raises(DataError, match=r"'unicorn' applies to no photograph \(1 of 3 labels have none\)"):
        without_empty_labels(photographs, "stop")
    assert without_empty_labels(photographs, "skip").label_names == ("dog", "cat")
    sound = photographs.select_labels(["dog", "cat"])
    for bad_data in ("stop", "skip"):
        assert without_empty_labels(sound, bad_data).label_names == ("dog", "cat")
    with pytest.raises(DataError, match="applies to no photograph"):
        without_empty_labels(photographs.select_labels(["unicorn"]), "skip")


def test_identical_files_with_different_labels_are_reported(tmp_path: Path) -> None:
    for name, colour in {
        "dog/1.png": "red",
        "cat/2.png": "red",
        "dog/3.png": "red",
        "cat/4.png": "blue",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    photographs = label_photographs(tmp_path, read_class_folders(tmp_path), complete=True)
    report = check(photographs)
    assert report.problems == []
    assert [Path(problem.subject).relative_to(tmp_path).as_posix() for problem in report.copies] == [
        "dog/1.png",
        "dog/3.png",
    ]
    assert "has the same content as" in report.copies[0].message
    # Training goes on.
    assert len(without_bad_files(photographs, report, "stop")) == 4
