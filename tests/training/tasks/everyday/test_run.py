"""The training on tiny data can be interrupted and repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sigrl.training.data.dataset import DataError
from sigrl.training.loop.state import read_state
from sigrl.training.tasks.catalogue import load_run
from sigrl.training.tasks.everyday import training
from sigrl.training.tasks.everyday.batches import endless_permutation
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.data import check_everyday, held_out_photographs
from sigrl.training.tasks.everyday.evaluation import measure
from sigrl.training.tasks.everyday.losses import known_loss, mention_loss
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.run import few_captions, train
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.tasks.everyday.trained import PARTS

CONFIGS = Path(__file__).parents[4] / "training" / "configs"
Config = Callable[..., EverydayConfig]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return read_state(directory / PARTS)[0]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_shipped_configuration_is_valid() -> None:
    loaded = load_run(CONFIGS / "everyday.yaml", seed=3)
    assert loaded.config.training.seed == 3
    assert loaded.config.preprocessing.mean == (0.5, 0.5, 0.5)
    assert set(loaded.config.source_weights) < set(loaded.config.sources)
    assert set(loaded.config.background) < set(loaded.config.sources)
    assert len(loaded.config.left_out.coco) == 15


def test_training_saves_its_parts_and_provenance(everyday: Config, start: Start, tmp_path: Path) -> None:
    trained = train(everyday(), tmp_path, start)
    assert measure(trained).keys() == {"known words, mAP", "embedding, mAP"}
    assert not trained.network.training
    assert trained.trained_on.sum() == 27
    assert_equal(dict(trained.network.state_dict()), weights(tmp_path))
    tensors, content = read_state(tmp_path / PARTS)
    assert content["known_words"][:2] == ["person", "man"]
    assert len(tensors["heads.known_words.bias"]) == len(content["known_words"])
    sources = [(row["source"], row["photographs"]) for row in content["provenance"]["sources"]]
    everyday_sources = [("everyday", 1), ("everyday", 3)]
    assert sorted(sources) == [
        *(("coco", 6), ("coco_course", 11), *everyday_sources, ("labels of coco", 6), ("scenes", 6))
    ]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_parts_depend_only_on_the_seed(everyday: Config, start: Start, tmp_path: Path) -> None:
    config = everyday()
    for name in ("one", "two"):
        train(config, tmp_path / name, start)
    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "two"))
    settings = config.training.model_copy(update={"seed": 1})
    train(everyday(training=settings), tmp_path / "three", start)
    assert not torch.equal(
        weights(tmp_path / "one")["heads.hidden.weight"], weights(tmp_path / "three")["heads.hidden.weight"]
    )


def test_interrupted_run_resumes_to_the_same_weights(
    everyday: Config, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(everyday(), tmp_path / "whole", start)
    write_state = training.write_state

    def write_and_stop(*arguments: Any) -> None:
        write_state(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "write_state", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(everyday(), tmp_path / "parted", start)
    assert read_state(tmp_path / "parted" / training.STATE)[1]["step"] == 2
    assert not (tmp_path / "parted" / PARTS).exists()
    train(everyday(), tmp_path / "parted", start)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parted"))
    assert len((tmp_path / "parted" / "metrics.jsonl").read_text().splitlines()) == 2


def test_finished_run_is_not_trained_again(everyday: Config, start: Start, tmp_path: Path) -> None:
    train(everyday(), tmp_path, start)
    before = weights(tmp_path)
    train(everyday(), tmp_path, start)
    assert_equal(before, weights(tmp_path))


def test_directory_of_another_run_is_rejected(everyday: Config, start: Start, tmp_path: Path) -> None:
    train(everyday(), tmp_path, start)
    with pytest.raises(DataError, match="another configuration or other data"):
        train(everyday(hidden_words=("dog",)), tmp_path, start)


def test_hidden_words_get_no_gradient_in_the_known_word_head(
    everyday: Config, start: Start, tmp_path: Path
) -> None:
    trained = train(everyday(hidden_words=("dog", "airplane")), tmp_path, start)
    tensors, content = read_state(tmp_path / PARTS)
    assert content["hidden"] == ["dog", "airplane"]
    bias = dict(zip(content["known_words"], tensors["heads.known_words.bias"].tolist(), strict=True))
    # All weights start and decay alike, so any difference comes from gradients.
    assert bias["dog"] == bias["airplane"] != bias["person"]
    assert "embedding, hidden words, mAP" in measure(trained)


def test_data_check_reports_per_source(everyday: Config, folders: Path) -> None:
    (folders / "scenes" / "data" / "train" / "kitchen" / "0.jpg").write_bytes(b"no photograph")
    reports = check_everyday(everyday())
    assert {name: report.photographs for name, report in reports.items()} == {
        "everyday": 12,
        "coco": 12,
        "coco_course": 11,
        "scenes": 6,
    }
    assert [len(report.problems) for report in reports.values()] == [0, 0, 0, 1]


def test_evaluation_uses_the_test_images(everyday: Config) -> None:
    photographs = held_out_photographs(everyday())
    assert photographs.ids == tuple(f"T{number}" for number in range(6))
    assert (photographs.labels[:, photographs.label_names.index("dog")] == 1).sum() == 3


def test_endless_permutation_repeats_only_after_all_rows() -> None:
    rows = np.arange(10)
    drawn = [endless_permutation(rows, 3, 0, step) for step in range(6)]
    assert len(set(np.concatenate(drawn[:3]).tolist())) == 9
    assert not np.array_equal(drawn[0], drawn[3])
    assert set(endless_permutation(rows, 48, 0, 5).tolist()) == set(range(10))


def test_few_captions_draws_a_seeded_subset() -> None:
    photograph = Photograph(Path("1.jpg"), "coco", "owner/name", "1.jpg", captions=tuple("abcde"))
    few = few_captions(photograph, seed=0)
    assert len(few) == 2
    assert few == few_captions(photograph, seed=0)
    assert any(few != few_captions(photograph, seed) for seed in range(1, 9))


def test_losses_count_known_labels_only() -> None:
    logits = torch.zeros(2, 3)
    counted = torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    assert known_loss(logits, torch.ones(2, 3), counted).item() == pytest.approx(1.5 * np.log(2), rel=1e-6)
    mentioned = torch.tensor([[1.0, 0, 0], [1, 0, 0]])
    # A word that a caption omits counts 0.3, and one that a class name omits counts nothing.
    loss = mention_loss(logits, mentioned, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((1.6 + 1) / 2 * np.log(2), rel=1e-6)
