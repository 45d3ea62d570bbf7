"""The recipe of the bundled checkpoint: `pretrain` trains the towers, then `fit` trains a head on them."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import Bundle, TaggingModel, load_bundle, save_bundle
from sigrl.model.manifest import Description
from sigrl.model.matching import MatchingHead
from sigrl.training.bundles.finishing import saved_with_graphs
from sigrl.training.bundles.provenance import commit
from sigrl.training.data.check import DataReport, check
from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.measures.results import Outcome, Results, write_results
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.fit import choose_threshold, fit_head, prepare

_LICENCES = {
    "image tower": "initialised from EfficientNet-Lite2, ImageNet weights (Apache-2.0)",
    "text tower": "all-MiniLM-L6-v2 (Apache-2.0), stored in int8, with a trained linear map",
    "annotations": "MS-COCO, CC BY 4.0; the photographs, under Flickr terms, are not in the bundle",
    "checkpoint": "Apache-2.0",
}


def fit_bundled(config: TrainingConfig, directory: Path) -> Outcome:
    """Trains a head on the towers of `config.start` and writes `directory/bundle`. `evaluate` measures it.

    Raises DataError if that bundle already exists or `start` is not set, and BundleError.
    """
    if config.start is None:
        raise DataError("name the towers: `start` in the configuration, or --start BUNDLE (from `pretrain`)")
    output = directory / "bundle"
    check_new(output)
    bundle = load_towers(config.start, config)
    prepared = prepare(config, bundle.model.backbone, config.cache)
    head = fit_head(config.fit, bundle.model.head, prepared)
    threshold = choose_threshold(head, prepared)
    commands = [*bundle.manifest.provenance.get("commands", []), "sigrl-train fit"]
    directory.mkdir(parents=True, exist_ok=True)
    save_model(output, config, bundle.model.backbone, head, bundle.tokenizer, threshold, commands)
    outcome = Outcome({"default threshold": 100 * threshold}, None, output, {})
    write_results(directory, Results(task=config.task, measured=dict(outcome.measured)))
    return outcome


def check_bundled(config: TrainingConfig) -> dict[str, DataReport]:
    """The problems with the photographs of both splits."""
    splits = (config.data.train_split, config.data.test_split)
    return {split: check(read_coco(config.data.root, split)) for split in splits}


def held_out_photographs(config: TrainingConfig) -> LabelledPhotographs:
    """The test split."""
    return read_coco(config.data.root, config.data.test_split)


def check_new(directory: Path) -> None:
    """Fails early, because `save_bundle` does not overwrite anything. Raises DataError if `directory`
    exists."""
    if directory.exists():
        raise DataError(f"{directory} already exists and bundles are never overwritten: name a new directory")


def load_towers(path: Path, config: TrainingConfig) -> Bundle:
    """The bundle that `pretrain` wrote with this configuration. Raises DataError for any other bundle."""
    bundle = load_bundle(path)
    if bundle.manifest.backbone != config.pretrain.backbone:
        raise DataError(f"{path} was made with another `pretrain.backbone`: use its own configuration")
    check_towers(bundle, path, config)
    return bundle


def check_towers(bundle: Bundle, path: Path, config: TrainingConfig) -> None:
    """Raises DataError if the bundle's towers were trained on a label that `config` hides, or on photographs
    that were prepared in another way."""
    if bundle.manifest.preprocessing != config.pretrain.preprocessing:
        raise DataError(f"{path} was made with another `pretrain.preprocessing`: use its own configuration")
    provenance = bundle.manifest.provenance
    hidden = {*provenance.get("hidden_labels", ()), *provenance.get("hidden_words", ())}
    if seen := sorted(set(config.data.hidden_labels) - hidden):
        raise DataError(
            f"the towers of {path} were trained on labels that the configuration hides ({', '.join(seen)}): "
            "name towers that were trained without them"
        )


def save_model(
    output: Path,
    config: TrainingConfig,
    towers: Backbone,
    head: MatchingHead,
    tokenizer: bytes | None,
    threshold: float,
    commands: list[str],
) -> None:
    """Writes the towers and the head as a bundle with graphs."""
    model = TaggingModel(config.pretrain.backbone, head.config, tokenizer)
    model.backbone.load_state_dict(towers.state_dict())
    model.head.load_state_dict(head.state_dict())
    description = Description(
        name="sigrl-compact-unseen" if config.data.hidden_labels else "sigrl-compact",
        backbone=config.pretrain.backbone,
        head=head.config,
        preprocessing=config.pretrain.preprocessing,
        default_threshold=threshold,
        provenance=provenance(config, commands),
    )
    with saved_with_graphs(output) as made:
        save_bundle(made, description, model.state_dict(), tokenizer)


def provenance(settings: TrainingConfig, commands: list[str]) -> dict[str, Any]:
    """Data, configuration, commands, commit, machine and licences."""
    return {
        "data": f"{settings.data.root.name}/{settings.data.train_split}",
        "hidden_labels": list(settings.data.hidden_labels),
        "commands": commands,
        "configuration": settings.model_dump(mode="json", include={"pretrain", "fit", "threads"}),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, torch {torch.__version__}, {settings.threads} threads",
        "licences": _LICENCES,
    }
