"""The model of all peers: open_clip's ViT-B/16 with random weights, with products as fast as ours."""

import sigrl.model.torchvision_cure  # noqa: F401 (before open_clip, which imports torchvision)

# isort: split
import io

import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

LABELS = tuple(f"label {number}" for number in range(80))
BATCH = 8
BATCH_SECONDS = 0.01
"""How long batchers with a timer wait, as in their own examples."""


class Clip:
    """From photographs to probabilities of `LABELS`, whose embeddings are precomputed."""

    def __init__(self) -> None:
        self._preprocess = open_clip.image_transform(224, is_train=False)
        self._model = open_clip.create_model("ViT-B-16").bfloat16().eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(len(LABELS), 512, generator=generator)
        self._labels = functional.normalize(drawn, dim=-1).bfloat16()

    def pixel_values(self, photograph: bytes) -> Tensor:
        """[3, 224, 224]."""
        values: Tensor = self._preprocess(Image.open(io.BytesIO(photograph)).convert("RGB"))
        return values

    @torch.inference_mode()
    def tag(self, pixel_values: Tensor) -> list[dict[str, float]]:
        """A response for each photograph of [B, 3, 224, 224]."""
        images = self._model.encode_image(pixel_values.bfloat16(), normalize=True)
        rows = (100 * images @ self._labels.T).sigmoid().float().tolist()
        return [dict(zip(LABELS, row, strict=True)) for row in rows]
