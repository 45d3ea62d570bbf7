"""`sigrl-train head`: the towers of a bundle with another head, one that needs no training."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from sigrl.model.attention_tower import check_tower
from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.bundle_files import BundleFiles, make_files, read_files
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import TOKENIZER, WEIGHTS, Description
from sigrl.model.storage import pack
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles.calibrate import BACKGROUND_PHOTOGRAPHS, find_photographs
from sigrl.training.bundles.import_weights import TWO_DEVIATIONS
from sigrl.training.bundles.provenance import commit
from sigrl.training.data.common_names import common_names
from sigrl.training.data.dataset import DataError
from sigrl.training.measures.evaluation import encode_photographs

PATCHES = 40_000
"""Largest number of patches in a piaa head: 40 MB for a joint space of 512 dimensions."""
CONTEXT_NAMES = 200
"""Common names over which the sparc head standardises."""
BACKGROUND = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea"),
    *("railway", "railroad", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street"),
    *("valley", "bridge"),
)
"""TagCLIP's background of COCO."""
SPARC_BIAS = -3.0
"""A label three deviations above the mean of the common names gets a probability of 0.5. That is a starting
point, not a calibration."""
_THRESHOLD = 0.5


class UntrainedHead(StrEnum):
    """The heads that score without training."""

    clip = "clip"
    mkt = "mkt"
    sparc = "sparc"
    piaa = "piaa"
    tagclip = "tagclip"


@torch.inference_mode()
def replace_head(path: Path, kind: UntrainedHead, photographs: Path | None = None) -> BundleFiles:
    """The bundle in directory `path` with another head, without graphs and calibration, which depend on the
    head. A piaa head takes its patches from the folder `photographs`.

    Raises BundleError, and DataError for a bundle whose head has no scale of cosines, for a piaa head without
    photographs, and for a tagclip head on a tower that has no attention for it.
    """
    files, bundle = read_files(path), load_bundle(path)
    threshold = _THRESHOLD
    if kind is UntrainedHead.piaa:
        head = {"patches": _patches(path, photographs)}
        changes: dict[str, Any] = {"form": "published", "patches": len(head["patches"])}
        threshold = TWO_DEVIATIONS
    elif kind is UntrainedHead.sparc:
        changes = {"context_labels": tuple(common_names(CONTEXT_NAMES))}
        head = _sparc(bundle, changes["context_labels"])
    elif kind is UntrainedHead.tagclip:
        changes = {"form": "published", "context_labels": BACKGROUND}
        head = _tagclip(bundle, path)
        threshold = TWO_DEVIATIONS
    else:
        changes = {"adds_commonness": files.manifest.head.adds_commonness}
        head = _scaled(bundle, kind, path)
    stored = load_tensors(files.contents[WEIGHTS])
    tensors = {name: tensor for name, tensor in stored.items() if name.startswith("backbone.")}
    tensors |= pack({f"head.{name}": tensor for name, tensor in head.items()}, lambda *_: False)
    contents = {WEIGHTS: save_tensors(tensors)}
    if TOKENIZER in files.contents:
        contents[TOKENIZER] = files.contents[TOKENIZER]
    entry = {
        "of": files.checkpoint_id,
        "command": f"sigrl-train head --kind {kind}",
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    description = Description(
        name=f"{files.manifest.name} ({kind} head)",
        backbone=files.manifest.backbone,
        head=HeadConfig(kind=kind.value, top_k=files.manifest.head.top_k, **changes),
        preprocessing=files.manifest.preprocessing,
        default_threshold=threshold,
        provenance=files.manifest.provenance | {"head": entry, "calibration": "none"},
    )
    return make_files(description, contents)


def _patches(path: Path, photographs: Path | None) -> Tensor:
    """Patch tokens [M, D] of some photographs."""
    if photographs is None:
        raise DataError(
            "a piaa head learns what labels look like from unlabelled photographs: name a folder of some "
            f"{BACKGROUND_PHOTOGRAPHS} everyday ones with --photographs"
        )
    paths = find_photographs(photographs, None).image_paths
    drawn = np.random.default_rng(0).permutation(len(paths))[:BACKGROUND_PHOTOGRAPHS]
    engine = TorchEngine.load(path, precision="float32")
    batches = encode_photographs(engine, [paths[row] for row in drawn])
    tokens = torch.cat([batch.patch_tokens.flatten(0, 1).cpu() for batch in batches])
    return tokens[torch.linspace(0, len(tokens) - 1, min(len(tokens), PATCHES)).long()]


def _sparc(bundle: Bundle, names: tuple[str, ...]) -> dict[str, Tensor]:
    labels = Vocabulary.from_names(names).labels
    return {
        "log_global_scale": torch.tensor(0.0),
        "bias": torch.tensor(SPARC_BIAS),
        "context_label_embeddings": bundle.model.backbone.encode_labels(labels),
    }


def _tagclip(bundle: Bundle, path: Path) -> dict[str, Tensor]:
    try:
        check_tower(bundle.model.backbone.visual)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    labels = Vocabulary.from_names(BACKGROUND).labels
    return {
        "scale": _scaled(bundle, UntrainedHead.tagclip, path)["log_global_scale"].exp(),
        "context_label_embeddings": bundle.model.backbone.encode_labels(labels),
    }


def _scaled(bundle: Bundle, kind: UntrainedHead, path: Path) -> dict[str, Tensor]:
    """The scale and bias of the bundle's own head; the mkt head shares the scale between the image embedding
    and the patches."""
    own = bundle.model.head.state_dict()
    if "log_global_scale" not in own or bundle.manifest.head.kind == "sparc":
        raise DataError(f"{path} has no scale of cosines: start from the bundle that was imported")
    scales = [own[name].exp() for name in ("log_global_scale", "log_local_scale") if name in own]
    log_scale = torch.stack(scales).sum().log()
    head = {"log_global_scale": log_scale, "bias": own["bias"]}
    if kind is UntrainedHead.mkt:
        head["log_global_scale"] = head["log_local_scale"] = log_scale - math.log(2)
    return head
