"""The inputs of `task: photographs`: pixel values, or cached features of the image tower."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from sigrl.model.acceleration import choose_precision
from sigrl.model.backbone import Backbone
from sigrl.model.config import Preprocessing
from sigrl.model.features import POOL, ImageFeatures
from sigrl.model.matching import MatchingHead
from sigrl.training.backbones.feature_cache import files_fingerprint, image_features
from sigrl.training.backbones.features import PhotographDataset
from sigrl.training.backbones.projection import stacked, without_projection
from sigrl.training.data.batches import Draw
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.data.photographs import AugmentedPhotographs

Form = Literal["float16", "int8", "pooled"]
"""How features are stored: all of a photograph's in float16 or in int8, or in float16 with the patch tokens
averaged over squares of `POOL` x `POOL`."""
Item = tuple[Tensor, Tensor, int]
"""Pixel values or features, labels [C] (int8), and the photograph's row."""


class TowerFeatures:
    """The tower's features [1 + P, F] of one or two views of N photographs, stored in a `Form`. P is 0 for a
    head that does not match patches."""

    def __init__(self, stored: np.ndarray) -> None:
        """`stored` is [N, views, 1 + P, F], or the result of `to_int8` of such features."""
        self._stored = stored
        self.views: int = stored.shape[1]
        self.patches: int = stored.shape[2] - 1

    def __len__(self) -> int:
        return len(self._stored)

    def read(self, rows: int | slice, view: int) -> Tensor:
        """Features [1 + P, F], or [n, 1 + P, F] for a slice of photographs, float16."""
        stored = np.array(self._stored[rows, view])
        return torch.from_numpy(from_int8(stored) if stored.dtype == np.int8 else stored)


def to_int8(features: Tensor) -> Tensor:
    """Features [..., F] -> int8 [..., F + 2]: steps of a 127th of each vector's largest number, which follows
    as a float16 in two bytes."""
    features = features.float()
    largest = features.abs().amax(dim=-1, keepdim=True).clamp(1e-4, 6e4).half()
    steps = (features * (127 / largest.float())).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([steps, largest.view(torch.int8)], dim=-1)


def from_int8(stored: np.ndarray) -> np.ndarray:
    """The float16 features [..., F] of `to_int8`'s result."""
    largest = np.ascontiguousarray(stored[..., -2:]).view(np.float16).astype(np.float32)
    return (stored[..., :-2] * (largest / 127)).astype(np.float16)


class FeatureViews(Dataset[Item]):
    """Tower features [1 + P, F] of a `Draw`: the photograph's own or those of its mirror image."""

    def __init__(self, features: TowerFeatures, photographs: LabelledPhotographs) -> None:
        self.features = features
        self._labels = torch.from_numpy(photographs.labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> Item:
        view = self.features.read(draw.photograph, draw.seed % self.features.views)
        return view, self._labels[draw.photograph], draw.photograph


class PixelViews(Dataset[Item]):
    """Pixel values [3, S, S] of a `Draw`: augmented, or as in the service, or that or its mirror image, with
    the choice of `FeatureViews`."""

    def __init__(
        self,
        photographs: LabelledPhotographs,
        preprocessing: Preprocessing,
        views: Literal["augmented", "plain", "mirrored"],
    ) -> None:
        self._augmented = AugmentedPhotographs(photographs, preprocessing) if views == "augmented" else None
        self._mirrored = views == "mirrored"
        self._plain = PhotographDataset(photographs.image_paths, preprocessing)
        self._labels = torch.from_numpy(photographs.labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> Item:
        if self._augmented is None:
            pixel_values = torch.from_numpy(self._plain[draw.photograph])
            if self._mirrored and draw.seed % 2:
                pixel_values = pixel_values.flip(-1)
        else:
            pixel_values = self._augmented[draw][0]
        return pixel_values, self._labels[draw.photograph], draw.photograph


def tower_features(
    backbone: Backbone,
    head: MatchingHead,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    mirrored: bool,
    accelerator: Accelerator,
    cache: Path,
    form: Form,
    description: str,
) -> TowerFeatures:
    """The tower's features before its projection, as far as `head` matches them, of one view or of two if
    `mirrored`, in a file under `cache`. Every process computes a share of them once, on its device."""
    compute = tower_outputs(backbone, head, accelerator.device, mirrored, form)
    # image_features distinguishes photographs by name only. Here the same name may occur in several folders,
    # and the file may have changed since.
    folder = cache / files_fingerprint(paths, f"{mirrored} {form} {head.matches_patches}")
    with without_projection(backbone):
        stored = image_features(
            paths, preprocessing, compute, backbone.visual, folder, description, accelerator
        )
    return TowerFeatures(stored)


def tower_outputs(
    backbone: Backbone, head: MatchingHead, device: torch.device, mirrored: bool, form: Form
) -> Callable[[Tensor], Tensor]:
    """A function from pixel values [B, 3, S, S] to what `TowerFeatures` stores, on the CPU; for use within
    `without_projection`. The tower is moved to `device`."""
    backbone.to(device)
    slow = device.type == "cpu" and choose_precision("auto", device) == "float32"

    def compute(pixel_values: Tensor) -> Tensor:
        # Older processors only emulate bfloat16.
        with torch.autocast("cpu", torch.bfloat16, enabled=not slow):
            views = [pixel_values, pixel_values.flip(-1)] if mirrored else [pixel_values]
            outputs = [_kept(backbone.encode_images(view.to(device)), head, form) for view in views]
        features = torch.stack(outputs, dim=1).cpu()
        return to_int8(features) if form == "int8" else features

    return compute


def _kept(features: ImageFeatures, head: MatchingHead, form: Form) -> Tensor:
    """What is stored of one view [B, 1 + P, F]."""
    if not head.matches_patches:
        features = replace(features, patch_tokens=features.patch_tokens[:, :0])
    elif form == "pooled":
        # The projection is linear, so it may come after the mean.
        maps = features.patch_tokens.mT.unflatten(2, features.grid)
        squares = functional.avg_pool2d(maps, POOL, ceil_mode=True)
        features = replace(features, patch_tokens=squares.flatten(2).mT)
    return stacked(features)
