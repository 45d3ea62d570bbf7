"""Photographs as a training step sees them: cropped, flipped and augmented at random, differently each
time."""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
import torch
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset

from sigrl.model.config import Preprocessing
from sigrl.training.data.batches import Draw, seeded
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.data.opening import open_photograph

RANDOM_AUGMENTATION = "rand-m9-mstd0.5-inc1"
"""RandAugment of the open-vocabulary protocol, in timm's notation."""


class AugmentedPhotographs(Dataset[tuple[Tensor, Tensor]]):
    """Pixel values [3, S, S] and labels [C] (int8) of a `Draw`: a random crop of the photograph, flipped or
    not, with RandAugment, by timm as in the published code, with the tower's own mean and deviation."""

    def __init__(self, photographs: LabelledPhotographs, preprocessing: Preprocessing) -> None:
        self._photographs = photographs
        self._labels = torch.from_numpy(photographs.labels)
        self._transform = create_transform(
            input_size=preprocessing.image_size,
            is_training=True,
            color_jitter=None,
            auto_augment=RANDOM_AUGMENTATION,
            interpolation=preprocessing.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )

    def __len__(self) -> int:
        return len(self._photographs)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        image = open_photograph(self._photographs.image_paths[draw.photograph])
        with seeded(draw.seed):
            pixel_values: Tensor = self._transform(image)
        return pixel_values, self._labels[draw.photograph]
