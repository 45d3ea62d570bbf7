"""Lets `import torchvision` (and so open_clip and timm) succeed on a CPU-only torch.

The registry's torchvision wheel is built for CUDA. On a CPU build of torch its compiled operators do not
load, and registering their fake implementations fails with `operator torchvision::nms does not exist`.
Declaring the two missing schemas first is enough, because nothing here ever calls them. Import this module
before open_clip or timm.
"""

import importlib.util
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_missing_operators() -> Any:
    """Declares `nms` and `qnms`, only on a CPU-only torch whose torchvision does not provide them."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        return None
    if importlib.util.find_spec("torchvision") is None or hasattr(torch.ops.torchvision, "nms"):
        return None
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)
    return library


# The declaration lives as long as this object.
LIBRARY = _declare_missing_operators()
