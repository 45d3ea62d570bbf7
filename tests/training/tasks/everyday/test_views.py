"""Random crops of the photographs, and the stage that trains on them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from sigrl.training.tasks.everyday import run
from sigrl.training.tasks.everyday.batches import Supervision
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.network import LastBlocks
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.run import VIEWS, train
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.tasks.everyday.teacher import second_guess
from sigrl.training.tasks.everyday.views import seen_by, views

PHOTOGRAPH = Photograph(Path("a.jpg"), "everyday", "owner/name", "a.jpg", dense=True)


def test_the_whole_photograph_is_view_zero() -> None:
    image = Image.new("RGB", (40, 30))
    assert seen_by(image, PHOTOGRAPH) is image


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (1, 500), (3000, 2)])
def test_a_view_is_a_large_part_of_the_photograph_and_always_the_same(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(pixels)
    for one in views([PHOTOGRAPH], 20):
        seen = seen_by(image, one)
        assert np.array_equal(np.asarray(seen), np.asarray(seen_by(image, one)))
        assert all(1 <= side <= whole for side, whole in zip(seen.size, size, strict=True))
        if min(size) > 2:
            assert 0.4 <= seen.width * seen.height / (size[0] * size[1]) <= 1


def test_views_differ_and_some_are_mirrored() -> None:
    ramp = Image.linear_gradient("L").rotate(90).convert("RGB")
    seen = [np.asarray(seen_by(ramp, one))[..., 0].astype(int) for one in views([PHOTOGRAPH], 12)]
    assert len({each.tobytes() for each in seen}) == 12
    rising = [each[0, -1] > each[0, 0] for each in seen]
    assert any(rising)
    assert not all(rising)


def test_views_follow_their_photographs() -> None:
    other = replace(PHOTOGRAPH, place="b.jpg")
    made = views([PHOTOGRAPH, other], 2)
    assert [(one.place, one.view) for one in made] == [("a.jpg", 1), ("a.jpg", 2), ("b.jpg", 1), ("b.jpg", 2)]


def test_each_row_of_a_photograph_is_drawn_equally_often() -> None:
    """Photograph 0 is dense; 1 and 2 are drawn with the weights 1/4 and 3/4. Row 4 cannot be read."""
    features = Mock(readable=np.array([True, True, True, True, False, True, True]))
    supervision = _supervision(dense=[0], others=[1, 2], weights=[0.25, 0.75], photographs=3)
    seen = supervision.seen_as(features, np.array([0, 1, 2, 0, 0, 1, 1]))
    assert seen.dense.tolist() == [0, 3]
    assert seen.others.tolist() == [1, 2, 5, 6]
    assert np.allclose(seen.weights, [0.25 / 3, 0.75, 0.25 / 3, 0.25 / 3])


def test_the_second_guess_joins_both_heads_and_all_rows_of_a_photograph() -> None:
    """The only word's own logit is ten times the row's number, and by matching a hundred times."""
    supervision = replace(
        _supervision(dense=[0], others=[1, 2, 3], weights=[0.5, 0.25, 0.25], photographs=3),
        features=Mock(pooled=np.arange(4, dtype=np.float16)[:, None], maps=torch.from_numpy),
        photograph_of=np.array([0, 1, 1, 2]),
    )
    network = Mock(side_effect=lambda _, untouched, **__: Mock(known=10 * untouched))
    network.heads.word_logits.side_effect = lambda seen, _: 10 * seen.known
    (dense,), (crops,), (alone,) = second_guess(supervision, network).tolist()
    assert dense == 0
    assert crops == pytest.approx(1.5 * (0.7 * 10 + 0.4 * 100) + 0.1, rel=1e-3)
    assert alone == pytest.approx(3 * (0.7 * 10 + 0.4 * 100) + 0.1, rel=1e-3)


def _supervision(dense: list[int], others: list[int], weights: list[float], photographs: int) -> Supervision:
    nothing = torch.zeros(0, 2)
    return Supervision(
        features=Mock(),
        photograph_of=np.arange(photographs),
        targets=Mock(),
        teacher=torch.zeros(photographs, 1),
        dense=np.array(dense),
        others=np.array(others),
        weights=np.array(weights),
        known_embeddings=nothing,
        word_embeddings=nothing,
        captions={},
        caption_embeddings=nothing,
    )


def test_the_stage_changes_the_weights_and_goes_on_after_an_interruption(
    everyday: Callable[..., EverydayConfig], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = train(everyday(views=()), tmp_path / "without", start).network.state_dict()
    whole = train(everyday(), tmp_path / "whole", start).network.state_dict()
    assert any(not torch.equal(whole[name], without[name]) for name in whole)

    first, last = everyday().views
    for title, stages in (
        ("dense", (first.model_copy(update={"others": 0}), last)),
        ("first", (first,)),
        ("unweighted", (first, last.model_copy(update={"coco_weight": 1}))),
        ("small", (first, last.model_copy(update={"image_size": None}))),
    ):
        other = train(everyday(views=stages), tmp_path / title, start).network.state_dict()
        assert any(not torch.equal(whole[name], one) for name, one in other.items())

    settings = run._stage(everyday().training, first, 1)
    with monkeypatch.context() as patch:
        patch.setattr(run, "_stage", Mock(side_effect=[settings, KeyboardInterrupt]))
        with pytest.raises(KeyboardInterrupt):
            train(everyday(), tmp_path / "stopped", start)
    monkeypatch.setattr(run, "second_guess", Mock(side_effect=AssertionError("it was stored")))
    resumed = train(everyday(), tmp_path / "stopped", start).network.state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "stopped" / VIEWS.format(number=2)).is_dir()


def test_a_stage_can_have_larger_photographs(
    everyday: Callable[..., EverydayConfig], start: Start, tmp_path: Path
) -> None:
    trained = train(everyday(), tmp_path / "run", start)
    assert trained.config.preprocessing.image_size == 128
    small = train(everyday(views=()), tmp_path / "small", start)
    rows = np.arange(2)
    assert trained.features.maps(rows).shape[2] == 2 * small.features.maps(rows).shape[2]
    assert torch.equal(trained.start.classifier[0], 2 * start.classifier[0])


def test_the_biases_of_folded_batch_norms_are_trained(
    everyday: Callable[..., EverydayConfig], start: Start, tmp_path: Path
) -> None:
    network = train(everyday(views=()), tmp_path / "run", start).network
    before = LastBlocks(start.trunk, 1).state_dict()
    biases = [name for name in before if name.endswith("bias")]
    assert biases
    assert not any(torch.equal(before[name], network.blocks.state_dict()[name]) for name in biases)
