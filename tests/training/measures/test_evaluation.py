"""Evaluation of a bundle, computed by hand with engines that know the answers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigrl.model.config import Preprocessing
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.measures.evaluation import encode_photographs, evaluate_photographs, evaluate_scores
from sigrl.training.measures.metrics import average_precision, f1_at, hit_at, precision_at
from sigrl.training.measures.report import Evaluation


def photographs(labels: np.ndarray) -> LabelledPhotographs:
    names = tuple(f"label {number}" for number in range(labels.shape[1]))
    paths = tuple(Path(f"{number}.jpg") for number in range(len(labels)))
    return LabelledPhotographs(paths, names, labels.astype(np.int8))


def evaluate(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> Evaluation:
    return evaluate_scores(scores, 1 / (1 + np.exp(-scores)), threshold, photographs(labels))


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> TorchEngine:
    return TorchEngine.load(tiny_bundle, device="cpu")


def test_fully_known_labels_give_the_values_of_the_metrics() -> None:
    random = np.random.RandomState(0)
    scores, labels = random.randn(60, 7), np.where(random.rand(60, 7) < 0.3, 1, -1)
    labels[:, 5], labels[4:, 6] = -1, -1
    labels[:4, 6] = 1
    found = evaluate(scores, labels)
    targets = (labels == 1).astype(float)
    precisions = average_precision(scores, targets)
    assert found.positive is not None
    assert found.frequent is not None
    assert (found.positive.labels, found.frequent.labels) == (6, 5)
    assert found.positive.mean_average_precision == pytest.approx(precisions[[0, 1, 2, 3, 4, 6]].mean())
    assert found.frequent.mean_average_precision == pytest.approx(precisions[:5].mean())
    assert [label.average_precision for label in found.per_label] == pytest.approx(
        [*precisions[:5], None, precisions[6]]
    )
    assert [label.positives + label.negatives for label in found.per_label] == [60] * 7
    for k, at in ((3, found.at_3), (5, found.at_5)):
        assert (at.f1, at.precision, at.recall) == pytest.approx(f1_at(scores, labels, k))
    assert found.ranking.precision_at_1 == pytest.approx(precision_at(scores, targets, 1))
    assert found.ranking.precision_at_3 == pytest.approx(precision_at(scores, targets, 3))
    assert found.ranking.true_label_in_first_5 == pytest.approx(hit_at(scores, targets, 5))


def test_unknown_labels_do_not_change_the_measures() -> None:
    """Two photographs of which half is known equal one, to every measure except the number of photographs."""
    random = np.random.RandomState(0)
    scores, labels = random.randn(40, 12), np.where(random.rand(40, 12) < 0.5, 1, -1)
    half = np.arange(12) < 6
    left, right = np.where(half, labels, 0), np.where(half, 0, labels)
    asked = np.concatenate([scores, np.where(half, 1e3, scores)])
    found = evaluate(asked, np.concatenate([left, right]))
    whole = evaluate(scores, labels)
    for name in ("positive", "frequent", "per_label", "calibration"):
        assert getattr(found, name) == getattr(whole, name)
    parts = [evaluate(scores[:, columns], labels[:, columns]) for columns in (half, ~half)]
    assert found.ranking.precision_at_1 == np.mean([part.ranking.precision_at_1 for part in parts])
    assert found.at_5.precision == np.mean([part.at_5.precision for part in parts])


def test_fewer_known_labels_than_k_do_not_lower_precision() -> None:
    found = evaluate(np.array([[3.0, 2.0, 1.0, 0.0]]), np.array([[1, 0, 0, 0]]))
    assert found.at_3.precision == found.at_3.recall == found.ranking.precision_at_3 == 100


def test_no_known_labels_give_no_means() -> None:
    found = evaluate(np.zeros((3, 2)), np.zeros((3, 2)))
    assert found.positive is None
    assert found.frequent is None
    assert found.calibration is None
    assert found.best == found.worst == []
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_f1_uses_decisions_at_the_threshold() -> None:
    # Probabilities 0.73, 0.27; 0.73, 0.73.
    found = evaluate(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1, 1], [-1, 1]]))
    assert found.positive is not None
    assert found.positive.micro_f1 == pytest.approx(100 * 2 * 2 / (3 + 3))
    assert found.positive.macro_f1 == pytest.approx(100 * (2 / 3 + 2 / 3) / 2)
    strict = evaluate(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1, 1], [-1, 1]]), threshold=0.9)
    assert strict.positive is not None
    assert strict.positive.micro_f1 == 0


def test_reliability_diagram_omits_empty_bins() -> None:
    found = evaluate(np.array([[0.0], [0.0], [9.0]]), np.array([[1], [-1], [1]])).calibration
    assert found is not None
    assert [(one.pairs, one.frequency) for one in found.bins] == [(2, 0.5), (1, 1.0)]
    assert found.bins[0].probability == pytest.approx(0.5)
    assert found.overall == found.mean_over_labels == pytest.approx(0.0, abs=0.01)


def test_ranked_labels_are_sorted_by_average_precision() -> None:
    found = evaluate(np.array([[2.0, 1.0, 3.0], [1.0, 2.0, 0.0]]), np.array([[1, 1, -1], [-1, -1, -1]]))
    assert [(label.label, precision) for label, precision in found.ranked_labels()] == [
        ("label 0", 100),
        ("label 1", 50),
    ]


def test_evaluate_photographs_uses_the_engine_scores(engine: TorchEngine, coco_root: Path) -> None:
    data = read_coco(coco_root, "val2014")
    found = evaluate_photographs(engine, data)
    labels = engine.encode_labels(Vocabulary.from_names(data.label_names))
    (batch,) = encode_photographs(engine, data.image_paths)
    scores = engine.score(batch, labels)
    assert found == evaluate_scores(scores, engine.probabilities(scores, labels), 0.5, data)
    assert found.photographs == 24


def test_evaluation_can_use_another_vocabulary_for_the_labels(engine: TorchEngine, coco_root: Path) -> None:
    data = read_coco(coco_root, "val2014")
    vocabulary = Vocabulary(labels=tuple({"name": name, "synonyms": ["blue"]} for name in data.label_names))
    found = evaluate_photographs(engine, data, vocabulary)
    assert [label.label for label in found.per_label] == list(data.label_names)
    assert found != evaluate_photographs(engine, data)


def test_many_images_are_read_in_order(tmp_path: Path) -> None:
    """With loader processes."""

    class Red:
        preprocessing = Preprocessing(image_size=16, mean=(0, 0, 0), std=(1, 1, 1))

        def encode_images(self, pixel_values: np.ndarray) -> np.ndarray:
            return np.round(255 * pixel_values[:, 0, 4, 4]).astype(int)

    paths = [tmp_path / f"{number}.png" for number in range(101)]
    for number, path in enumerate(paths):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
    batches = list(encode_photographs(Red(), paths))
    assert [len(batch) for batch in batches] == [50, 50, 1]
    assert np.concatenate(batches).tolist() == list(range(101))
    paths[70].write_bytes(b"no photograph")
    with pytest.raises(DataError, match=r"70\.png"):
        list(encode_photographs(Red(), paths))
