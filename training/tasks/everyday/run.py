"""The training of `task: everyday`, stage by stage; a repeated run reuses the results of finished stages."""

import platform
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigrl.training.bundles.provenance import commit
from sigrl.training.data.batches import derive_seed, seeded
from sigrl.training.tasks.everyday.batches import Supervision
from sigrl.training.tasks.everyday.bridge import Bridge, initialise
from sigrl.training.tasks.everyday.config import EverydayConfig, Rates, TrainingSettings, ViewsConfig
from sigrl.training.tasks.everyday.data import EverydayData, load_data
from sigrl.training.tasks.everyday.duplicates import may_be_trained_on
from sigrl.training.tasks.everyday.frozen_features import (
    FrozenFeatures,
    frozen_features,
    standardised,
    statistics,
)
from sigrl.training.tasks.everyday.network import EverydayNetwork, Heads, LastBlocks
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.sources import source_table
from sigrl.training.tasks.everyday.start import Start, fingerprint
from sigrl.training.tasks.everyday.teacher import second_guess, stored_logits, teach
from sigrl.training.tasks.everyday.trained import PARTS, Trained, write_parts
from sigrl.training.tasks.everyday.training import train_network
from sigrl.training.tasks.everyday.views import views

TEACHER = "teacher.safetensors"
VIEWS = "views-{number}"
"""Folder of a stage with random crops in a run's directory, counted from 1."""
_SAMPLE = 12_000
"""Number of photographs from which the bridge's centre and the embedding's initial weights are computed."""
_CAPTIONS = 2
"""Number of captions per photograph that are embedded; more take time and teach little."""
_OF_THE_RUN = {"training", "teacher", "preprocessing", "backbone", "source_weights"}
"""Settings that identify a run, beside the data."""
_OF_THE_CHECKPOINT = {
    *_OF_THE_RUN,
    "views",
    "left_out",
    "known_words",
    "graph",
    "background",
    "draw_seed",
    "threads",
}


def train(config: EverydayConfig, directory: Path, start: Start) -> Trained:
    """Trains the last blocks and the heads on the photographs of `config`, and writes
    `directory/parts.safetensors`.

    Raises DataError and VocabularyError.
    """
    torch.set_num_threads(config.threads)
    data = load_data(config)
    directory.mkdir(parents=True, exist_ok=True)
    features, _ = frozen_features(data.photographs, config, start.trunk)
    trained_on = may_be_trained_on(data.photographs, features.hashes) & features.readable
    identity = _identity(config, data, trained_on)
    supervision = _supervision(config, directory, start, data, features, trained_on, identity)
    network, bridge = _network(config, start, supervision)
    train_network(network, supervision, bridge, config.training, directory, identity)
    provenance = _provenance(config, data, trained_on)
    for number, wanted in enumerate(config.views, start=1):
        config, start = at_size(wanted, config, start)
        # Pseudo-labels do not depend on how the stage trains with them.
        crops = wanted.model_dump(include={"count", "others", "image_size"})
        made_from = {**identity, "views": [*identity.get("views", ()), crops]}
        identity["views"] = [one.model_dump() for one in config.views[:number]]
        folder = directory / VIEWS.format(number=number)
        folder.mkdir(exist_ok=True)
        seen = _with_views(supervision, wanted, data, config, start)
        bridge = Bridge(start.bridge, _sample(seen, config.training.seed))
        guesses = stored_logits(folder / TEACHER, made_from, partial(second_guess, seen, network))
        stage = _stage(config.training, wanted, number)
        train_network(network, replace(seen, teacher=guesses), bridge, stage, folder, identity)
    write_parts(
        directory / PARTS,
        network,
        {"known_words": data.targets.known_words, "hidden": data.hidden, "provenance": provenance},
    )
    features, _ = frozen_features(data.photographs, config, start.trunk)
    return Trained(
        config=config,
        directory=directory,
        start=start,
        vocabulary=data.vocabulary,
        names=data.names,
        photographs=data.photographs,
        trained_on=trained_on,
        features=features,
        targets=data.targets,
        hidden=data.hidden,
        network=network,
        provenance=provenance,
    )


def at_size(wanted: ViewsConfig, config: EverydayConfig, start: Start) -> tuple[EverydayConfig, Start]:
    """The configuration and the frozen towers with the image size and the class scale of a stage."""
    if wanted.image_size is not None:
        preprocessing = config.preprocessing.model_copy(update={"image_size": wanted.image_size})
        config = config.model_copy(update={"preprocessing": preprocessing})
    return config, start if wanted.class_scale == 1 else start.with_class_scale(wanted.class_scale)


def _with_views(
    supervision: Supervision, wanted: ViewsConfig, data: EverydayData, config: EverydayConfig, start: Start
) -> Supervision:
    """The same supervision with the stage's weights, and with views of all photographs to train on beside
    them."""
    dense, others = supervision.dense, supervision.others
    crops = [
        *views([data.photographs[row] for row in dense], wanted.count),
        *views([data.photographs[row] for row in others], wanted.others),
    ]
    features, _ = frozen_features([*data.photographs, *crops], config, start.trunk)
    of_crops = (np.repeat(dense, wanted.count), np.repeat(others, wanted.others))
    seen = _weighted(supervision, data, wanted.coco_weight)
    return seen.seen_as(features, np.concatenate([np.arange(len(data.photographs)), *of_crops]))


def _weighted(supervision: Supervision, data: EverydayData, coco_weight: float) -> Supervision:
    is_coco = [bool(data.told[row].coco_known) for row in supervision.others]
    weights = supervision.weights * np.where(is_coco, coco_weight, 1)
    return replace(supervision, weights=weights / weights.sum())


def _stage(settings: TrainingSettings, wanted: ViewsConfig, number: int) -> TrainingSettings:
    """The settings of a stage with views, whose order of photographs differs from that of the others."""
    rates = {
        name: rate if name.endswith("_decay") else wanted.rate * rate
        for name, rate in settings.rates.model_dump().items()
    }
    changes = {
        "steps": wanted.steps,
        "rates": Rates(**rates),
        "own_share": 0.0,
        "seed": derive_seed(settings.seed, number),
    }
    return settings.model_copy(update=changes)


def _identity(
    config: EverydayConfig, data: EverydayData, trained_on: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    content = config.model_dump(mode="json", include=_OF_THE_RUN)
    del content["training"]["save_every"]
    told = [(one.repository, one.place, one.captions) for one in data.told]
    targets = data.targets
    return {
        "configuration": content,
        "data": fingerprint(told, targets.known, targets.words, targets.mentions, trained_on),
    }


def _supervision(
    config: EverydayConfig,
    directory: Path,
    start: Start,
    data: EverydayData,
    features: FrozenFeatures,
    trained_on: npt.NDArray[np.bool_],
    identity: dict[str, Any],
) -> Supervision:
    is_dense = np.array([one.dense for one in data.told])
    dense, others = np.flatnonzero(trained_on & is_dense), np.flatnonzero(trained_on & ~is_dense)

    def taught() -> Tensor:
        of_all = standardised(features.pooled, dense)
        return teach(of_all, data.targets.known, dense, config.teacher, config.training.seed)

    teacher = stored_logits(directory / TEACHER, identity, taught)
    texts: list[str] = []
    captions: dict[int, npt.NDArray[np.integer]] = {}
    for row in np.flatnonzero(trained_on).tolist():
        if own := few_captions(data.told[row], config.draw_seed):
            captions[row] = np.arange(len(texts), len(texts) + len(own))
            texts += own
    by_source = {str(name): weight for name, weight in config.source_weights.items()}
    weights = np.array([by_source.get(data.told[row].source, 1.0) for row in others])
    return Supervision(
        features=features,
        photograph_of=np.arange(len(data.photographs)),
        targets=data.targets,
        teacher=teacher,
        dense=dense,
        others=others,
        weights=weights / max(weights.sum(), 1e-9),
        known_embeddings=start.text_embeddings(data.targets.known_words, config.cache, "known words"),
        word_embeddings=start.text_embeddings(data.targets.words, config.cache, "other words"),
        captions=captions,
        caption_embeddings=start.text_embeddings(texts, config.cache, "captions", half=True),
    )


def few_captions(photograph: Photograph, seed: int) -> Sequence[str]:
    """The captions to embed: all, or a random selection."""
    if len(photograph.captions) <= _CAPTIONS:
        return photograph.captions
    return random.Random(f"{seed} {photograph.place}").sample(photograph.captions, _CAPTIONS)


def _network(
    config: EverydayConfig, start: Start, supervision: Supervision
) -> tuple[EverydayNetwork, Bridge]:
    seed = config.training.seed
    mean, deviation = map(torch.from_numpy, statistics(supervision.features.pooled, supervision.dense))
    embeddings: Tensor = supervision.known_embeddings
    with seeded(seed):
        blocks = LastBlocks(start.trunk, config.training.tuned_blocks)
        heads = Heads(mean, deviation, len(embeddings), config.training.hidden, embeddings.shape[1])
    sample = _sample(supervision, seed)
    bridge = Bridge(start.bridge, sample)
    initialise(heads, bridge, sample, embeddings)
    return EverydayNetwork(blocks, heads), bridge


def _sample(supervision: Supervision, seed: int) -> Tensor:
    """Pooled features [n, 2 F] of some of the photographs without dense labels."""
    count = min(_SAMPLE, len(supervision.others))
    rows = np.random.default_rng(seed).choice(supervision.others, count, replace=False)
    return torch.from_numpy(supervision.features.pooled[np.sort(rows)].astype(np.float32))


def _provenance(
    config: EverydayConfig, data: EverydayData, trained_on: npt.NDArray[np.bool_]
) -> Mapping[str, Any]:
    used = [data.told[row] for row in np.flatnonzero(trained_on)]
    return {
        "sources": source_table(used),
        "hidden_words": list(data.hidden),
        "commands": ["sigrl-train fit"],
        "configuration": config.model_dump(mode="json", include=_OF_THE_CHECKPOINT),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, torch {torch.__version__}, {config.threads} threads",
    }
