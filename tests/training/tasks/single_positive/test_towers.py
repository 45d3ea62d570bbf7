"""Classifiers of single-positive runs: a CLIP's towers with each head, and timm's."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.config import Preprocessing
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.schedules import ConstantRate
from sigrl.training.loop.state import read_state
from sigrl.training.tasks.single_positive.config import ClipTower, SinglePositiveConfig, TimmTower
from sigrl.training.tasks.single_positive.labels import LabelEstimator
from sigrl.training.tasks.single_positive.run import fit_single_positive
from sigrl.training.tasks.single_positive.saving import CLASSIFIER
from sigrl.training.tasks.single_positive.task import SinglePositiveModel, SinglePositiveTask, start_scale
from sigrl.training.tasks.single_positive.towers import (
    LearnedScale,
    create_clip_classifier,
    create_timm_classifier,
)

NAMES = ("dog", "cat", "red")
PUBLISHED = {"form": "published", "top_k": 2}


def tower(**content: Any) -> ClipTower:
    return ClipTower.model_validate({"kind": "clip", **content})


def pixels(size: int = 64) -> torch.Tensor:
    return torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "sigrl", **PUBLISHED},
        {"kind": "mkt", **PUBLISHED},
        {"kind": "sigrl", "top_k": 2},
        {"kind": "linear"},
    ],
)
def test_image_tower_and_new_parameters_train_but_texts_do_not(towers: Path, head: dict[str, Any]) -> None:
    classifier = create_clip_classifier(tower(head=head), load_bundle(towers), NAMES)
    classifier(pixels()).square().mean().backward()
    assert all(one.grad is None for one in classifier.backbone.text.parameters())
    assert all(one.grad is not None for one in classifier.backbone.visual.parameters())
    new = list(classifier.new_parameters())
    assert new or head == {"kind": "mkt"}
    assert all(one.grad is not None for one in new)


def test_published_form_starts_its_scale_where_sigmoid_is_steep(
    towers: Path,
) -> None:
    start, head = load_bundle(towers), {"kind": "mkt", **PUBLISHED}
    classifier = create_clip_classifier(tower(head=head), start, NAMES).eval()
    photographs = [one.numpy() for one in pixels()]
    start_scale(classifier, photographs)
    with torch.no_grad():
        scores, logits = classifier.scores(pixels()), classifier(pixels())
    assert scores.norm(dim=1).max() <= 1 + 1e-5
    scale, bias = classifier.scale.log_scale.exp(), classifier.scale.bias
    torch.testing.assert_close(logits, scale * scores + bias)
    assert logits.mean().item() == pytest.approx(-math.log(2), abs=1e-4)
    assert logits.std().item() == pytest.approx(1, abs=1e-4)
    assert len(list(classifier.new_parameters())) == 2

    plain = create_clip_classifier(tower(head=head, learned_scale=False), start, NAMES).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(pixels()), scores)
    assert not list(plain.new_parameters())


def test_context_form_uses_its_own_scales(towers: Path) -> None:
    classifier = create_clip_classifier(tower(head={"kind": "sigrl", "top_k": 2}), load_bundle(towers), NAMES)
    assert classifier.scale is None
    assert classifier.head.config.context_labels == NAMES
    torch.testing.assert_close(classifier.head.context_label_embeddings, classifier.label_embeddings)


def test_scale_is_finite_for_constant_scores() -> None:
    scale = LearnedScale()
    scale.start_at(torch.full((4, 3), 0.5))
    assert scale(torch.full((4, 3), 0.5)).isfinite().all()


def test_vit_image_size_changes_by_resizing_position_embeddings(vit: Path) -> None:
    start = load_bundle(vit)
    same = create_clip_classifier(tower(head={"kind": "linear"}), start, NAMES)
    larger = create_clip_classifier(tower(head={"kind": "linear"}, image_size=64), start, NAMES)
    assert same.preprocessing.image_size == 32
    assert larger.preprocessing.image_size == larger.backbone.config.vision["image_size"] == 64
    assert same.preprocessing.resize == larger.preprocessing.resize == "squash"
    assert larger.backbone.visual.positional_embedding.shape == (1 + 16, 32)
    features = larger.backbone.encode_images(pixels(64))
    assert features.grid == (4, 4)
    before, after = (one.backbone.visual.positional_embedding for one in (same, larger))
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1:].mean(0), before[1:].mean(0), atol=1e-5, rtol=1e-4)
    assert torch.equal(start.model.backbone.visual.positional_embedding, before)


def test_unsupported_image_size_is_rejected(vit: Path) -> None:
    with pytest.raises(DataError, match=r"remove `tower\.image_size`"):
        create_clip_classifier(tower(image_size=16, head={"kind": "clip"}), broken(load_bundle(vit)), NAMES)


def broken(bundle: Bundle) -> Bundle:
    """Towers that differ from their manifest."""
    visual = bundle.manifest.backbone.vision | {"width": 48}
    backbone = bundle.manifest.backbone.model_copy(update={"vision": visual})
    manifest = bundle.manifest.model_copy(update={"backbone": backbone})
    return Bundle(manifest, bundle.checkpoint_id, bundle.model, bundle.tokenizer)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of timm's smallest ResNet for its 1,000 classes, as a local file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = timm.create_model("test_resnet")
    path = tmp_path_factory.mktemp("weights") / "test_resnet.pth"
    torch.save({"state_dict": trunk.state_dict()}, path)
    return path


def test_timm_classifier_keeps_weights_and_gets_a_new_last_layer(weights: Path) -> None:
    classifier = create_timm_classifier(TimmTower(name="test_resnet", weights=weights, image_size=32), 3)
    given = torch.load(weights, weights_only=True)["state_dict"]
    own = classifier.trunk.state_dict()
    assert all(torch.equal(given[name], tensor) for name, tensor in own.items() if not name.startswith("fc."))
    assert classifier(pixels(32)).shape == (5, 3)
    assert {id(one) for one in classifier.new_parameters()} == {
        id(one) for one in classifier.trunk.fc.parameters()
    }
    assert classifier.preprocessing == Preprocessing(
        image_size=32, resize="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )


def test_wrong_weights_and_unknown_timm_models_are_rejected(weights: Path, tmp_path: Path) -> None:
    tensors = dict(list(torch.load(weights, weights_only=True)["state_dict"].items())[4:])
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=r"other\.safetensors lacks \d+ tensors of test_resnet"):
        create_timm_classifier(TimmTower(name="test_resnet", weights=tmp_path / "other.safetensors"), 3)
    with pytest.raises(DataError, match="timm cannot create no_such_model"):
        create_timm_classifier(TimmTower(name="no_such_model", weights=weights), 3)


@pytest.mark.parametrize("kind", ["timm", "linear"])
def test_run_without_bundle_saves_classifier_tensors_and_metadata(
    coco_root: Path, towers: Path, weights: Path, tmp_path: Path, kind: str
) -> None:
    timm_tower = {"kind": "timm", "name": "test_resnet", "weights": weights, "image_size": 32}
    clip_tower = {"kind": "clip", "head": {"kind": "linear"}}
    config = SinglePositiveConfig.model_validate(
        {
            "data": {"kind": "coco", "root": coco_root},
            "start": towers,
            "tower": timm_tower if kind == "timm" else clip_tower,
            "loss": {"kind": "em_pl", "entropy_weight": 0.1},
            "seeds": [0],
            "loop": {"epochs": 1, "batch_size": 4, "workers": 0},
        }
    )
    outcome = fit_single_positive(config, tmp_path)
    assert outcome.bundle is None
    tensors, content = read_state(tmp_path / CLASSIFIER)
    assert len(content["labels"]) == 8
    assert content["preprocessing"]["resize"] == "squash"
    assert 0 <= content["threshold"] <= 1
    last = tensors["trunk.fc.weight" if kind == "timm" else "classifier.weight"]
    assert last.shape[0] == 8
    assert not any("text" in name for name in tensors)
    assert np.isfinite(outcome.measured["test/mAP"])


def test_tower_head_and_estimator_have_their_own_learning_rates(towers: Path) -> None:
    classifier = create_clip_classifier(tower(head={"kind": "linear"}), load_bundle(towers), NAMES)
    estimator = LabelEstimator(torch.eye(3, dtype=torch.int8))

    class Nowhere:
        def to(self, device: torch.device) -> None: ...

    task = SinglePositiveTask(
        SinglePositiveModel(classifier, estimator),
        Nowhere(),
        None,
        ConstantRate(1e-5),
        1e-3,
        1e-4,
        [],
        None,
        None,
    )
    optimizer = task.optimizer()
    task.schedule.apply(optimizer, 0.5)
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert rates[id(classifier.classifier.weight)] == pytest.approx(1e-3)
    assert rates[id(estimator.logits)] == pytest.approx(1e-4)
    visual: nn.Module = classifier.backbone.visual
    assert all(rates[id(one)] == 1e-5 for one in visual.parameters())
    assert not any(id(one) in rates for one in classifier.backbone.text.parameters())
