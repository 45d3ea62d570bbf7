"""Trained parts and fitted numbers become a bundle with an evidence head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from model.background import make_background, save_background
from model.bundle import TaggingModel
from model.bundle_files import BundleFiles, make_files
from model.calibration import CalibrationConfig
from model.config import (
    BackboneConfig,
    EvidenceConfig,
    HeadConfig,
    Preprocessing,
    SentenceEncoderConfig,
    WordTowerConfig,
)
from model.kept_features import KeptFeatures
from model.manifest import CALIBRATION, TOKENIZER, WEIGHTS, Description
from model.storage import pack
from training.initialisation import load_efficientnet_lite2, minilm_tokenizer, minilm_weights

Array = npt.NDArray[np.float32]

TRUNK = "tf_efficientnet_lite2"
TOP_K = 4
"""Of the 25 pooled tokens, averaged into the local score."""
EMBED_DIM = 384
"""The sentence encoder's own width: its map into the joint space starts as the identity."""


@dataclass(frozen=True)
class TrainedParts:
    """What training leaves, for features standardised by `mean` and `deviation` [2 F]: means, then maxima."""

    stage: Mapping[str, Tensor]
    """`model.word_tower.TunedStage`'s."""
    heads: Mapping[str, Tensor]
    """`hidden`, `words`, `embedding`, `embedding_residual`, `tokens`, `text_map` (weight and bias each), and
    the scalars `log_global_scale`, `log_local_scale`, `bias`."""
    mean: Tensor
    deviation: Tensor


def towers(
    parts: TrainedParts, known_words: int, image_size: int
) -> tuple[TaggingModel, BackboneConfig, bytes]:
    """The model with its towers' weights and a matching head, its configuration, and the tokenizer."""
    config = BackboneConfig(
        embed_dim=EMBED_DIM,
        vision={"timm_model_name": TRUNK, "image_size": image_size},
        sentence_encoder=SentenceEncoderConfig(),
        words=WordTowerConfig(words=known_words, hidden=len(parts.heads["hidden.bias"])),
        prompts=("{label}",),
    )
    tokenizer = minilm_tokenizer()
    model = TaggingModel(config, HeadConfig(kind="mkt", top_k=TOP_K), tokenizer).eval()
    visual = model.backbone.visual
    weight, bias = load_efficientnet_lite2(visual.trunk)
    visual.tuned.load_state_dict(parts.stage)
    mean, deviation = parts.mean, parts.deviation
    features = len(mean) // 2
    heads = parts.heads
    with torch.no_grad():
        visual.classes.weight.copy_(weight)
        visual.classes.bias.copy_(bias)
        both = torch.cat([mean, mean]), torch.cat([deviation, deviation])
        _load_standardised(visual.hidden, heads, "hidden", *both)
        _load_standardised(visual.embedding, heads, "embedding", mean, deviation)
        _load_standardised(visual.tokens, heads, "tokens", mean[:features], deviation[:features])
        for name in ("words", "embedding_residual"):
            getattr(visual, name).weight.copy_(heads[f"{name}.weight"])
            getattr(visual, name).bias.copy_(heads[f"{name}.bias"])
        encoder = config.sentence_encoder
        assert encoder is not None
        model.backbone.text.load_state_dict(
            minilm_weights(encoder)
            | {f"projection.{kind}": heads[f"text_map.{kind}"] for kind in ("weight", "bias")}
        )
        for name in ("log_global_scale", "log_local_scale", "bias"):
            getattr(model.head, name).copy_(heads[name])
    return model, config, tokenizer


def assemble(
    model: TaggingModel,
    config: BackboneConfig,
    tokenizer: bytes,
    evidence: EvidenceConfig,
    arrays: Mapping[str, Array],
    background: KeptFeatures,
    preprocessing: Preprocessing,
    provenance: dict[str, object],
) -> BundleFiles:
    """The bundle, of `arrays` by the names of `model.evidence.shapes`. Raises ValueError for a misfit."""
    head = HeadConfig(kind="evidence", form="context", top_k=TOP_K, evidence=evidence)
    tensors = {f"head.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    state = model.state_dict() | tensors
    description = Description(
        name="sigrl-everyday",
        backbone=config,
        head=head,
        preprocessing=preprocessing,
        default_threshold=0.5,
        calibration=CalibrationConfig(photographs=len(background), offset=0.0, slope=1.0),
        provenance=provenance,
    )
    kept = make_background(background, np.zeros((0, config.embed_dim), np.float32))
    contents = {
        WEIGHTS: save(pack(state, _sentence_weights)),
        TOKENIZER: tokenizer,
        CALIBRATION: save_background(kept),
    }
    return make_files(description, contents)


def known_word_names(
    names: Sequence[str], synonyms: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """As `EvidenceConfig.known_words` has them: a synonym that is another word's name is left out."""
    own = {name.casefold() for name in names}
    return tuple(
        (name, *(other for other in synonyms.get(name, ()) if other.casefold() not in own)) for name in names
    )


def _sentence_weights(name: str, _tensor: Tensor) -> bool:
    return name.startswith("backbone.text.") and name.endswith("weight")


def _load_standardised(
    linear: torch.nn.Linear, heads: Mapping[str, Tensor], name: str, mean: Tensor, deviation: Tensor
) -> None:
    """A map of standardised features as one of the features themselves."""
    weight = heads[f"{name}.weight"] / deviation
    linear.weight.copy_(weight)
    linear.bias.copy_(heads[f"{name}.bias"] - weight @ mean)
