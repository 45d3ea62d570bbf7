"""The parameter names of the published checkpoints (SigRL's and MKT's CLIPVIT), known only to this module."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

HEAD_NAMES = {
    "GATv2_1.layer1.linear_l.weight": "graph.hidden.linear.weight",
    "GATv2_1.layer1.attn.weight": "graph.hidden.attention",
    "GATv2_1.output.linear_l.weight": "graph.output.linear.weight",
    "GATv2_1.output.attn.weight": "graph.output.attention",
    "SemanticDecoupling.fc3.weight": "svfr.decoupling.weight",
    "DecouplingSemantic.fc1.weight": "svfr.fusion.weight",
    "DecouplingSemantic.fc3.weight": "svfr.reconstruction.weight",
}
"""Reference name -> name in `SigRLHead`."""

_SHARED = {
    "GATv2_1.layer1.linear_r.weight": "GATv2_1.layer1.linear_l.weight",
    "GATv2_1.output.linear_r.weight": "GATv2_1.output.linear_l.weight",
}
_CANCELS = "constant over the patches, so the softmax over patches cancels it"
_UNUSED = "no forward path of the reference uses it"

LEFT_OUT = {
    "SemanticDecoupling.fc3.bias": _CANCELS,
    "DecouplingSemantic.fc3.bias": _CANCELS,
    "projection.fc1.weight": _UNUSED,
    "projection.fc1.bias": _UNUSED,
    "projection.fc2.weight": _UNUSED,
    "projection.fc2.bias": _UNUSED,
} | {duplicate: f"the same tensor as {original}" for duplicate, original in _SHARED.items()}
"""Reference name -> why our models have no such tensor."""

_TOWER_RENAMED = {"projection_dist": "proj"}
_TOWER_KEPT = re.compile(
    r"class_embedding|positional_embedding|conv1\.weight|ln_(pre|post)\.(weight|bias)"
    r"|transformer\.resblocks\.\d+\.(attn\.(in_proj_(weight|bias)|out_proj\.(weight|bias))"
    r"|ln_[12]\.(weight|bias)|mlp\.c_(fc|proj)\.(weight|bias))"
)


@dataclass(frozen=True)
class ReferenceWeights:
    """A published checkpoint with our names."""

    tower: dict[str, Tensor]
    """The image tower, as open_clip's `visual.*`; the patch tokens share its projection."""
    head: dict[str, Tensor]
    """The head, named as in `SigRLHead`; empty for a checkpoint of MKT."""
    left_out: dict[str, str]
    """Names of the checkpoint that are not used, and why."""


def map_reference_weights(state_dict: Mapping[str, Tensor]) -> ReferenceWeights:
    """Separates a published state dict into tower and head, with our names.

    The prefix `module.` (from data-parallel training) is removed. Raises ValueError for a name that the
    published models do not have, for an incomplete head, and for a graph that does not share its maps.
    """
    given = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    tower: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in given.items():
        if name in HEAD_NAMES:
            head[HEAD_NAMES[name]] = tensor.squeeze(0) if name.endswith("attn.weight") else tensor
        elif name in _TOWER_RENAMED or _TOWER_KEPT.fullmatch(name):
            tower["visual." + _TOWER_RENAMED.get(name, name)] = tensor
        elif name not in LEFT_OUT:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"not a checkpoint of SigRL's or MKT's CLIPVIT: {len(unknown)} unknown names, "
            f"the first {sorted(unknown)[:5]}"
        )
    missing = [name for name in HEAD_NAMES if name not in given]
    if missing and (head or not _SHARED.keys().isdisjoint(given)):
        raise ValueError(f"the checkpoint has a part of SigRL's head only; missing: {missing}")
    for duplicate, original in _SHARED.items():
        if duplicate in given and not torch.equal(given[duplicate], given[original]):
            raise ValueError(f"{duplicate} differs from {original}: a graph that does not share its maps")
    return ReferenceWeights(tower, head, {name: LEFT_OUT[name] for name in given if name in LEFT_OUT})
