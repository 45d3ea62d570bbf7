"""A head fitted on tiny towers, end to end."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sigrl.model.bundle import TaggingModel, load_bundle, save_bundle
from sigrl.model.heads import SigRLHead
from sigrl.model.manifest import Description
from sigrl.model.matching import MatchingHead
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.fit import (
    choose_threshold,
    fit_head,
    image_batch,
    predict,
    prepare,
    sampled_context,
)

KNOWN = ("person", "dog", "car", "chair", "handbag", "dining table")


def run(config: TrainingConfig, towers: Path, cache: Path) -> tuple[MatchingHead, float]:
    bundle = load_bundle(towers)
    prepared = prepare(config, bundle.model.backbone, cache)
    head = fit_head(config.fit, bundle.model.head, prepared)
    return head, choose_threshold(head, prepared)


@pytest.fixture(scope="module")
def fitted(config: TrainingConfig, towers: Path, cache: Path) -> tuple[MatchingHead, float]:
    return run(config, towers, cache)


def test_fitted_head_is_finite_and_has_its_context_labels(
    fitted: tuple[MatchingHead, float], towers: Path
) -> None:
    head, threshold = fitted
    assert isinstance(head, SigRLHead)
    assert not head.training
    assert 0.05 <= threshold <= 0.95
    assert all(parameter.isfinite().all() for parameter in head.parameters())
    assert head.config.context_labels == KNOWN
    with torch.inference_mode():
        expected = load_bundle(towers).model.backbone.encode_labels(Vocabulary.from_names(KNOWN).labels)
    torch.testing.assert_close(head.context_label_embeddings, expected)


def test_every_parameter_changes_in_training(config: TrainingConfig, towers: Path, cache: Path) -> None:
    """Compares with the same run with steps of length zero."""
    still = config.model_copy(update={"fit": config.fit.model_copy(update={"learning_rate": 0.0})})
    (moved, _), (start, _) = run(config, towers, cache), run(still, towers, cache)
    for (name, parameter), before in zip(moved.named_parameters(), start.parameters(), strict=True):
        assert not torch.equal(parameter, before), name


def test_same_seed_gives_the_same_head(
    fitted: tuple[MatchingHead, float], config: TrainingConfig, towers: Path, cache: Path
) -> None:
    again, threshold = run(config, towers, cache)
    assert threshold == fitted[1]
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, fitted[0].state_dict()[name]), name
    other = config.model_copy(update={"fit": config.fit.model_copy(update={"seed": 1})})
    different, _ = run(other, towers, cache)
    assert any(
        not torch.equal(tensor, fitted[0].state_dict()[name])
        for name, tensor in different.state_dict().items()
    )


def test_fitted_head_can_be_saved_loaded_and_used(
    fitted: tuple[MatchingHead, float],
    tiny_description: Description,
    towers: Path,
    tmp_path: Path,
) -> None:
    head, threshold = fitted
    bundle = load_bundle(towers)
    model = TaggingModel(tiny_description.backbone, head.config, bundle.tokenizer)
    model.backbone.load_state_dict(bundle.model.backbone.state_dict())
    model.head.load_state_dict(head.state_dict())
    description = tiny_description.model_copy(update={"head": head.config, "default_threshold": threshold})
    save_bundle(tmp_path / "fitted", description, model.state_dict(), bundle.tokenizer)

    engine = TorchEngine.load(tmp_path / "fitted", device="cpu")
    assert engine.default_threshold == threshold
    images = engine.encode_images(np.zeros((2, 3, 64, 64), np.float32))
    scores = engine.score(images, engine.encode_labels(Vocabulary.from_names(["dog", "a word never seen"])))
    assert scores.shape == (2, 2)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("changes", [{"kind": "clip"}, {"kind": "mkt"}, {"gmc": False, "svfr": False}])
def test_other_heads_start_from_the_scales_of_the_towers(
    config: TrainingConfig, towers: Path, cache: Path, changes: dict[str, object]
) -> None:
    head_config = config.fit.head.model_copy(update=changes)
    settings = config.fit.model_copy(update={"head": head_config, "learning_rate": 0.0})
    head, _ = run(config.model_copy(update={"fit": settings}), towers, cache)
    start = dict(load_bundle(towers).model.head.named_parameters())
    for name, parameter in head.named_parameters():
        assert torch.equal(parameter, start[name]), name


def test_batch_larger_than_the_data_is_one_step(config: TrainingConfig, towers: Path, cache: Path) -> None:
    settings = config.fit.model_copy(update={"batch_size": 1000, "epochs": 1})
    head, _ = run(config.model_copy(update={"fit": settings}), towers, cache)
    assert all(parameter.isfinite().all() for parameter in head.parameters())


def test_predict_returns_the_head_scores_in_order(fitted: tuple[MatchingHead, float]) -> None:
    head, _ = fitted
    outputs = torch.randn(130, 5, 32, generator=torch.Generator().manual_seed(0)).half()
    labels = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = head.score(image_batch(outputs), head.label_features(labels))
    torch.testing.assert_close(predict(head, outputs, labels), expected, atol=1e-4, rtol=1e-4)


def test_image_batch_takes_the_image_embedding_first() -> None:
    outputs = torch.arange(2 * 10 * 3.0).view(2, 10, 3).half()
    features = image_batch(outputs)
    assert features.grid == (3, 3)
    assert features.image_embeddings.dtype == torch.float32
    assert torch.equal(features.image_embeddings, outputs[:, 0].float())
    assert torch.equal(features.patch_tokens, outputs[:, 1:].float())


def test_sampled_context_restores_the_whole_context(fitted: tuple[MatchingHead, float]) -> None:
    head, _ = fitted
    assert isinstance(head, SigRLHead)
    whole = head.context_label_embeddings

    def interrupted() -> None:
        with sampled_context(head, 2):
            assert len(head.context_label_embeddings) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert head.context_label_embeddings is whole
