"""The starting point of a run: ImageNet's tower and classifier, and a sentence encoder, all frozen."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.training.backbones.cache_files import locked
from sigrl.training.backbones.features import text_features
from sigrl.training.backbones.initialisation import ImageNetBridge
from sigrl.training.tasks.bundled.teachers import make_bridge, sentence_embeddings

_TEXTS = 8192
"""Texts per cached file."""


@dataclass(frozen=True)
class Start:
    """The frozen towers, as returned by `sigrl.training.backbones.initialisation.starting_point`."""

    backbone: Backbone
    classifier: tuple[Tensor, Tensor]
    """The image tower's classifier: weight [1000, F], bias [1000]."""
    tokenizer: bytes
    """The sentence encoder's `tokenizer.json`."""

    @property
    def trunk(self) -> nn.Module:
        """timm's EfficientNet without its classifier."""
        trunk: nn.Module = self.backbone.visual.trunk
        return trunk

    def with_class_scale(self, scale: float) -> "Start":
        """The same towers with the classifier's logits multiplied by `scale`."""
        weight, bias = self.classifier
        return replace(self, classifier=(weight * scale, bias * scale))

    @cached_property
    def bridge(self) -> ImageNetBridge:
        """Maps pooled features of the frozen tower to the sentence encoder's space."""
        with torch.inference_mode():
            bridge = make_bridge(self.backbone, self.classifier)
        # Tensors created in inference mode cannot take part in training.
        return ImageNetBridge(*self.classifier, bridge.class_embeddings.clone())

    def text_embeddings(
        self, texts: Sequence[str], cache: Path, description: str, half: bool = False
    ) -> Tensor:
        """Sentence embeddings [N, width] of texts, with unit norm; computed once and stored in files in
        `cache`. `half`: computed and stored in half precision, for many texts that each count little. Raises
        DataError if another run computes the same ones at this moment."""
        if not texts:
            return torch.zeros(0, self.bridge.class_embeddings.shape[1])
        encoder = fingerprint(self.backbone.text)
        parts = []
        for first in range(0, len(texts), _TEXTS):
            part = list(texts[first : first + _TEXTS])
            path = cache / f"texts-{fingerprint(encoder, part, half)}.npy"
            if not path.is_file():
                cache.mkdir(parents=True, exist_ok=True)
                with locked(path):
                    # Another run may have computed them between the first look and the lock.
                    if not path.is_file():
                        write_array(path, self._embeddings(part, description, half))
            parts.append(torch.from_numpy(np.load(path)))
        return torch.cat(parts)

    def _embeddings(self, texts: Sequence[str], description: str, half: bool) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            embeddings = text_features(partial(sentence_embeddings, self.backbone), texts, description)
        return embeddings.to(torch.float16 if half else torch.float32).numpy()


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes an array to `path` atomically. The folder exists, and the caller holds the lock (`locked`)."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        np.save(file, array)
    unfinished.rename(path)


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits that change with any of `parts`: weights of modules, arrays, JSON content."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, nn.Module):
            for name, tensor in part.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        elif isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]
