"""Builds the bundle from the trained parts and a fitted head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor, nn

from sigrl.model.background import make_background, save_background
from sigrl.model.bundle import Bundle, TaggingModel, save_bundle, sentence_weights
from sigrl.model.bundle_files import BundleFiles, make_files
from sigrl.model.calibration import CalibrationConfig
from sigrl.model.config import BackboneConfig, EvidenceConfig, HeadConfig, Preprocessing, WordTowerConfig
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.manifest import CALIBRATION, TOKENIZER, WEIGHTS, Description
from sigrl.model.storage import pack
from sigrl.training.tasks.everyday.network import BEST_TOKENS, Heads, LastBlocks
from sigrl.training.tasks.everyday.trained import Trained

Array = npt.NDArray[np.float32]

_CONVOLUTIONS = {"expand": "conv_pw", "depthwise": "conv_dw", "reduce": "conv_pwl"}
"""Layer names of `sigrl.model.word_tower.TunedBlock` -> timm's."""


@torch.no_grad()
def towers(trained: Trained, words: npt.NDArray[np.int64]) -> tuple[TaggingModel, BackboneConfig]:
    """The model with its towers' weights and a matching head, and its configuration. The image tower returns
    logits only of the known words `words`."""
    start, heads = trained.start, trained.network.heads
    given = start.backbone.config
    config = BackboneConfig(
        embed_dim=len(heads.text_map.bias),
        vision={
            "timm_model_name": given.vision["timm_model_name"],
            "image_size": trained.config.preprocessing.image_size,
        },
        sentence_encoder=given.sentence_encoder,
        words=WordTowerConfig(
            words=len(words),
            classes=len(start.classifier[1]),
            hidden=len(heads.hidden.bias),
            tuned_blocks=trained.config.training.tuned_blocks,
        ),
        prompts=("{label}",),
    )
    model = TaggingModel(config, HeadConfig(kind="mkt", top_k=BEST_TOKENS), start.tokenizer).eval()
    visual: Any = model.backbone.visual
    visual.trunk.load_state_dict(start.trunk.state_dict())
    visual.tuned.load_state_dict(tuned_weights(trained.network.blocks))
    weight, bias = start.classifier
    _load(visual.classes, weight, bias)
    _load_heads(visual, heads, words)
    encoder = {
        name: tensor
        for name, tensor in start.backbone.text.state_dict().items()
        if not name.startswith("projection.")
    }
    projection = {f"projection.{name}": tensor for name, tensor in heads.text_map.state_dict().items()}
    model.backbone.text.load_state_dict(encoder | projection)
    for name in ("log_global_scale", "log_local_scale", "bias"):
        getattr(model.head, name).copy_(getattr(heads, name))
    return model, config


def tuned_weights(blocks: LastBlocks) -> dict[str, Tensor]:
    """The weights of tuned blocks under the names of `model.word_tower.TunedBlocks`, which computes the same
    for an EfficientNet-Lite."""
    given = blocks.state_dict()
    count = len(blocks) - 2
    names = {
        f"blocks.{number}.{ours}": f"{number}.{theirs}"
        for number in range(count)
        for ours, theirs in _CONVOLUTIONS.items()
    }
    names["features"] = str(count)
    return {
        f"{ours}.{kind}": given[f"{theirs}.{kind}"]
        for ours, theirs in names.items()
        for kind in ("weight", "bias")
    }


def _load_heads(visual: Any, heads: Heads, words: npt.NDArray[np.int64]) -> None:
    """Turns linear maps of standardised features into maps of the features themselves."""
    mean, deviation = heads.feature_mean, heads.feature_deviation
    features = len(mean) // 2
    both = torch.cat([mean, mean]), torch.cat([deviation, deviation])
    _load_standardised(visual.hidden, heads.hidden, *both)
    _load_standardised(visual.embedding, heads.embedding, mean, deviation)
    _load_standardised(visual.tokens, heads.tokens, mean[:features], deviation[:features])
    _load(visual.words, heads.known_words.weight[words], heads.known_words.bias[words])
    _load(visual.embedding_residual, heads.residual.weight, heads.residual.bias)


def _load_standardised(linear: nn.Linear, trained: nn.Linear, mean: Tensor, deviation: Tensor) -> None:
    weight = trained.weight / deviation
    _load(linear, weight, trained.bias - weight @ mean)


def _load(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def save_towers(trained: Trained, words: npt.NDArray[np.int64], directory: Path) -> Bundle:
    """Writes the towers of `towers` with their own matching, the head `mkt`, as a bundle on which other heads
    can be compared (`benchmarks.ladders`). Raises BundleError."""
    model, config = towers(trained, words)
    description = Description(
        name="sigrl-everyday-towers",
        backbone=config,
        head=model.head.config,
        preprocessing=trained.config.preprocessing,
        default_threshold=0.5,
        provenance=dict(trained.provenance),
    )
    return save_bundle(directory, description, model.state_dict(), trained.start.tokenizer)


def assemble(
    model: TaggingModel,
    config: BackboneConfig,
    tokenizer: bytes,
    evidence: EvidenceConfig,
    arrays: Mapping[str, Array],
    background: KeptFeatures,
    preprocessing: Preprocessing,
    default_threshold: float,
    provenance: dict[str, object],
) -> BundleFiles:
    """The bundle; `arrays` has the names of `sigrl.model.evidence_arrays.shapes`. Raises ValueError for other
    parts."""
    head = HeadConfig(kind="evidence", form="context", top_k=BEST_TOKENS, evidence=evidence)
    state = model.state_dict() | {f"head.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    description = Description(
        name="sigrl-everyday",
        backbone=config,
        head=head,
        preprocessing=preprocessing,
        default_threshold=default_threshold,
        calibration=CalibrationConfig(photographs=len(background), offset=0.0, slope=1.0),
        provenance=provenance,
    )
    kept = make_background(background, np.zeros((0, config.embed_dim), np.float32))
    contents = {
        WEIGHTS: save(pack(state, sentence_weights)),
        TOKENIZER: tokenizer,
        CALIBRATION: save_background(kept),
    }
    return make_files(description, contents)
