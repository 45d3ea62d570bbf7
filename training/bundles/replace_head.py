"""`sigrl-train head`: the towers of a bundle with another head, one that needs no training."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.bundle_files import BundleFiles, make_files, read_files
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import TOKENIZER, WEIGHTS, Description
from sigrl.model.storage import pack
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles.provenance import commit
from sigrl.training.data.common_names import common_names
from sigrl.training.data.dataset import DataError

CONTEXT_NAMES = 200
"""Common names over which the sparc head standardises."""
SPARC_BIAS = -3.0
"""A label three deviations above the mean of the common names gets a probability of 0.5. That is a starting
point, not a calibration."""
_THRESHOLD = 0.5


class UntrainedHead(StrEnum):
    """The heads that score without training."""

    clip = "clip"
    mkt = "mkt"
    sparc = "sparc"


@torch.inference_mode()
def replace_head(path: Path, kind: UntrainedHead) -> BundleFiles:
    """The bundle in directory `path` with another head, without graphs and calibration, which depend on the
    head. Raises BundleError, and DataError for a bundle whose head has no scale of cosines."""
    files, bundle = read_files(path), load_bundle(path)
    names = tuple(common_names(CONTEXT_NAMES)) if kind is UntrainedHead.sparc else ()
    head = _sparc(bundle, names) if names else _scaled(bundle, kind, path)
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
        head=HeadConfig(
            kind=kind.value,
            top_k=files.manifest.head.top_k,
            context_labels=names,
            adds_commonness=files.manifest.head.adds_commonness and not names,
        ),
        preprocessing=files.manifest.preprocessing,
        default_threshold=_THRESHOLD,
        provenance=files.manifest.provenance | {"head": entry, "calibration": "none"},
    )
    return make_files(description, contents)


def _sparc(bundle: Bundle, names: tuple[str, ...]) -> dict[str, Tensor]:
    labels = Vocabulary.from_names(names).labels
    return {
        "log_global_scale": torch.tensor(0.0),
        "bias": torch.tensor(SPARC_BIAS),
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
