"""Training photographs of the single-positive protocol: uncropped, and mirrored half of the time."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sigrl.model.config import Preprocessing
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.batches import Draw
from sigrl.training.data.dataset import LabelledPhotographs


class FlippedPhotographs(Dataset[tuple[Tensor, int]]):
    """Pixel values [3, S, S] of a `Draw`, mirrored or not, and the photograph's row. The labels are kept by
    the task, because what is known about them changes between epochs."""

    def __init__(self, photographs: LabelledPhotographs, preprocessing: Preprocessing) -> None:
        self._paths = photographs.image_paths
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        pixel_values = read_photograph(self._paths[draw.photograph], self._preprocessing)
        if np.random.default_rng(draw.seed).random() < 0.5:
            pixel_values = np.ascontiguousarray(pixel_values[:, :, ::-1])
        return torch.from_numpy(pixel_values), draw.photograph
