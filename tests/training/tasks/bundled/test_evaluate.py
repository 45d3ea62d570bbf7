"""The report of `evaluate`, through the engine that serves."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sigrl.model.torch_engine import TorchEngine
from sigrl.training.commands.tables import report_table
from sigrl.training.data.coco import CocoSplit, load_coco
from sigrl.training.data.dataset import DataError
from sigrl.training.measures.evaluation import MINIMUM_POSITIVES
from sigrl.training.tasks.bundled.evaluate import CONSTANT_GUESS, Report, evaluate

DISTRACTORS = [f"thing {number}" for number in range(100)]


@pytest.fixture(scope="module")
def split(coco_root: Path) -> CocoSplit:
    return load_coco(coco_root, "val2014")


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> TorchEngine:
    return TorchEngine.load(tiny_bundle, device="cpu")


@pytest.fixture(scope="module")
def report(engine: TorchEngine, split: CocoSplit) -> Report:
    return evaluate(engine, split, ("cat",), DISTRACTORS)


def test_means_cover_the_seen_and_hidden_labels(report: Report, split: CocoSplit) -> None:
    counted = split.labels.sum(0) >= MINIMUM_POSITIVES
    assert report.photographs == 24
    assert report.labels == counted.sum() >= 4
    means = {name: report.per_label[name] for name in np.array(split.label_names)[counted]}
    assert report.mean_average_precision == pytest.approx(np.mean(list(means.values())), abs=0.1)
    assert report.hidden_mean_average_precision == pytest.approx(report.per_label["cat"], abs=0.1)
    means.pop("cat", None)
    assert report.seen_mean_average_precision == pytest.approx(np.mean(list(means.values())), abs=0.1)


def test_without_hidden_labels_their_mean_is_none(engine: TorchEngine, split: CocoSplit) -> None:
    report = evaluate(engine, split, (), DISTRACTORS[:5])
    assert report.hidden_mean_average_precision is None
    assert report.seen_mean_average_precision == report.mean_average_precision


def test_report_includes_the_constant_guess_baseline(report: Report, split: CocoSplit) -> None:
    columns = [split.label_names.index(name) for name in CONSTANT_GUESS]
    guess = report.constant_guess
    assert guess.precision_at_1 == pytest.approx(100 * split.labels[:, columns[0]].mean())
    assert guess.precision_at_3 == pytest.approx(100 * split.labels[:, columns[:3]].mean())
    assert guess.true_label_in_first_5 == pytest.approx(100 * split.labels[:, columns].any(1).mean())
    assert 0 <= report.ranking.precision_at_1 <= report.ranking.true_label_in_first_5 <= 100


def test_added_distractor_labels_do_not_change_decisions(report: Report) -> None:
    assert [company.distractors for company in report.company] == [0, 5, 80, 100]
    for company in report.company:
        assert company.unchanged_decisions == 100
        assert company.mean_average_precision == pytest.approx(report.company[0].mean_average_precision)


def test_single_label_evaluation_matches_the_full_vocabulary(report: Report) -> None:
    assert report.single_label["average_precision"] == pytest.approx(report.per_label["dog"], abs=0.1)


def test_perfect_engine_gets_full_marks(
    engine: TorchEngine, split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that reads the answers from the split."""
    asked: list[tuple[str, ...]] = []
    read: list[int] = []

    class Perfect:
        checkpoint_id = "sha256:0"
        preprocessing = engine.preprocessing
        default_threshold = 0.5

        def encode_images(self, pixel_values: np.ndarray) -> np.ndarray:
            read.append(len(pixel_values))
            return np.arange(sum(read[:-1]), sum(read))

        def encode_labels(self, vocabulary):
            asked.append(vocabulary.names)
            return vocabulary.names

        def score(self, rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
            truth = {name: split.labels[rows, column] for column, name in enumerate(split.label_names)}
            return np.stack([truth.get(name, np.zeros(len(rows))) - 0.5 for name in names], axis=1)

        def probabilities(self, logits: np.ndarray, _names: tuple[str, ...]) -> np.ndarray:
            return 1 / (1 + np.exp(-logits))

        def thresholds(self, names: tuple[str, ...]) -> np.ndarray:
            return np.full(len(names), 0.5)

    monkeypatch.setattr("sigrl.training.measures.evaluation._BATCH_SIZE", 7)
    report = evaluate(Perfect(), split, ("cat",), DISTRACTORS)
    assert read == [7, 7, 7, 3]
    assert report.mean_average_precision == report.seen_mean_average_precision == 100
    assert report.hidden_mean_average_precision == 100
    assert report.micro_f1 == report.macro_f1 == 100
    assert (
        report.ranking.precision_at_1
        == report.ranking.true_label_in_first_5
        == (100 * split.labels.any(1).mean())
    )
    assert report.single_label["precision"] == report.single_label["recall"] == 100
    assert all(company.unchanged_decisions == 100 for company in report.company)
    assert ("dog",) in asked


def test_recorded_report_can_be_read_back(report: Report) -> None:
    recorded = report.recorded()
    assert Report.model_validate(recorded).recorded() == recorded


def test_report_table_shows_general_and_task_measures(report: Report) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report_table(report))
    text = console.export_text()
    for part in ("24 photographs", "F1 / precision / recall of the first 3", "`dog` alone", "hidden labels"):
        assert part in text


def test_data_set_without_coco_labels_is_rejected(engine: TorchEngine, split: CocoSplit) -> None:
    other = CocoSplit(split.image_paths, ("cat", "dog"), split.labels[:, :2], split.captions)
    with pytest.raises(DataError, match=r"has no label 'person'"):
        evaluate(engine, other, (), DISTRACTORS)


def test_too_few_images_for_any_mean_are_reported(engine: TorchEngine, split: CocoSplit) -> None:
    few = CocoSplit(split.image_paths[:3], split.label_names, split.labels[:3], split.captions[:3])
    with pytest.raises(DataError, match="10 positives"):
        evaluate(engine, few, (), DISTRACTORS)
