"""The inputs of `task: photographs`: pixel values, or cached features of the image tower."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from sigrl.model.acceleration import choose_precision
from sigrl.model.backbone import Backbone
from sigrl.model.config import Preprocessing
from sigrl.training.backbones.features import PhotographDataset, image_features
from sigrl.training.backbones.projection import stacked, without_projection
from sigrl.training.data.batches import Draw
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.data.photographs import AugmentedPhotographs

Item = tuple[Tensor, Tensor, int]
"""Pixel values or features, labels [C] (int8), and the photograph's row."""


class FeatureViews(Dataset[Item]):
    """Tower features [1 + P, F] of a `Draw`: the photograph's own or those of its mirror image."""

    def __init__(self, features: np.ndarray, photographs: LabelledPhotographs) -> None:
        """`features` are [N, views, 1 + P, F]."""
        self.features = features
        self._labels = torch.from_numpy(photographs.labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> Item:
        views = self.features[draw.photograph]
        view = views[draw.seed % len(views)]
        return torch.from_numpy(np.array(view)), self._labels[draw.photograph], draw.photograph


class PixelViews(Dataset[Item]):
    """Pixel values [3, S, S] of a `Draw`: augmented, or as in the service."""

    def __init__(self, photographs: LabelledPhotographs, preprocessing: Preprocessing, augment: bool) -> None:
        self._augmented = AugmentedPhotographs(photographs, preprocessing) if augment else None
        self._plain = PhotographDataset(photographs.image_paths, preprocessing)
        self._labels = torch.from_numpy(photographs.labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> Item:
        if self._augmented is None:
            pixel_values = torch.from_numpy(self._plain[draw.photograph])
        else:
            pixel_values = self._augmented[draw][0]
        return pixel_values, self._labels[draw.photograph], draw.photograph


def tower_features(
    backbone: Backbone,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    mirrored: bool,
    accelerator: Accelerator,
    cache: Path,
    description: str,
) -> np.ndarray:
    """The tower's features before its projection, float16 [N, 1 or 2 views, 1 + P, F], in a file under
    `cache`. The main process computes them once, on its device."""
    device = accelerator.device
    backbone.to(device)
    slow = device.type == "cpu" and choose_precision("auto", device) == "float32"

    def compute(pixel_values: Tensor) -> Tensor:
        # image_features computes in bfloat16, which older processors only emulate.
        with torch.autocast("cpu", enabled=False) if slow else torch.autocast("cpu", torch.bfloat16):
            views = [pixel_values, pixel_values.flip(-1)] if mirrored else [pixel_values]
            outputs = [stacked(backbone.encode_images(view.to(device))) for view in views]
        return torch.stack(outputs, dim=1).cpu()

    # image_features distinguishes photographs by name only. Here the same name may occur in several folders,
    # and the file may have changed since.
    folder = cache / _state_of(paths, mirrored)
    with accelerator.main_process_first(), without_projection(backbone):
        return image_features(paths, preprocessing, compute, backbone.visual, folder, description)


def _state_of(paths: Sequence[Path], mirrored: bool) -> str:
    digest = hashlib.sha256(str(mirrored).encode())
    for path in paths:
        file = next((one for one in (path, *path.parents) if one.is_file()), None)
        status = None if file is None else file.stat()
        digest.update(f"{path}:{status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]
