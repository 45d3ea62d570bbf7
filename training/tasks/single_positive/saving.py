"""Saves the result of a single-positive run: a bundle that can be served, or the classifier's tensors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sigrl.model.bundle import Bundle, TaggingModel, save_bundle
from sigrl.model.manifest import Description
from sigrl.training.bundles.finishing import saved_with_graphs
from sigrl.training.loop.state import write_state
from sigrl.training.tasks.single_positive.config import SinglePositiveConfig
from sigrl.training.tasks.single_positive.towers import MatchingClassifier

CLASSIFIER = "model.safetensors"


def save(
    directory: Path,
    config: SinglePositiveConfig,
    start: Bundle | None,
    trained: nn.Module,
    label_names: Sequence[str],
    threshold: float,
    measured: Mapping[str, float],
) -> None:
    """Writes `directory/bundle`, or `directory/model.safetensors` for a classifier that knows its labels by
    number. An existing bundle is kept. `threshold` is the probability that decides best."""
    if isinstance(trained, MatchingClassifier):
        assert start is not None, "a head that matches labels starts from a bundle"
        if not (directory / "bundle").exists():
            _save_bundle(directory / "bundle", config, start, trained, threshold, measured)
        return
    tensors = {
        name: tensor for name, tensor in trained.state_dict().items() if not name.startswith("backbone.text.")
    }
    content = {
        "labels": list(label_names),
        "preprocessing": trained.preprocessing.model_dump(mode="json"),
        "threshold": threshold,
        "configuration": config.model_dump(mode="json"),
    }
    write_state(directory / CLASSIFIER, tensors, content)


def _save_bundle(
    directory: Path,
    config: SinglePositiveConfig,
    start: Bundle,
    trained: MatchingClassifier,
    threshold: float,
    measured: Mapping[str, float],
) -> None:
    # The learned scale is not saved: it changes neither the order of scores nor the service's conversion from
    # scores of the published form to probabilities.
    manifest, head = start.manifest, trained.head
    model = TaggingModel(trained.backbone.config, head.config, start.tokenizer)
    model.backbone.load_state_dict(trained.backbone.state_dict())
    model.head.load_state_dict(head.state_dict())
    provenance: dict[str, Any] = {
        "data": f"{config.data.root.name}, one positive label per photograph",
        "start": {"checkpoint": start.checkpoint_id, "name": manifest.name, **manifest.provenance},
        "configuration": config.model_dump(mode="json"),
        "metrics": dict(measured),
    }
    if trained.scale is not None:
        provenance["learned_scale"] = {
            "scale": trained.scale.log_scale.exp().item(),
            "bias": trained.scale.bias.item(),
        }
    description = Description(
        name=f"{manifest.name[:150]}, {head.config.kind}, single positive",
        backbone=trained.backbone.config,
        head=head.config,
        preprocessing=trained.preprocessing,
        default_threshold=threshold,
        provenance=provenance,
    )
    with saved_with_graphs(directory) as made:
        save_bundle(made, description, model.state_dict(), start.tokenizer)
