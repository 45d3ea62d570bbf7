"""The engine on PyTorch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.blocks import block_slices
from model.bundle import Bundle, load_bundle
from model.bundle_files import bundled_path
from model.features import ImageFeatures, LabelFeatures
from model.heads import SigRLHead
from model.vocabulary import Vocabulary


class TorchEngine:
    """A bundle on PyTorch, in float32. Features stay on the device, scores come back as NumPy arrays."""

    def __init__(self, bundle: Bundle, device: str | None = None) -> None:
        """Takes the bundle's model over. `device` is "cpu", "cuda" or "cuda:1"; by default CUDA where there
        is any. Raises ValueError for a device that this machine does not have."""
        self.checkpoint_id = bundle.checkpoint_id
        self.manifest = bundle.manifest
        self.preprocessing = bundle.manifest.preprocessing
        self.default_threshold = bundle.manifest.default_threshold
        self._device = _find_device(device)
        self._model = bundle.model.to(self._device).eval()
        # Convolutions on a CPU run half as fast again in this order of the dimensions.
        self._model.backbone.visual.to(memory_format=torch.channels_last)
        self._in_context = bundle.manifest.head.form == "context"
        self._context = self._context_features()

    @classmethod
    def load(cls, path: Path | None = None, device: str | None = None) -> "TorchEngine":
        """The engine of the bundle in directory `path`; None: the bundled one. Raises BundleError and
        ValueError (device)."""
        return cls(load_bundle(bundled_path() if path is None else path), device)

    @torch.inference_mode()
    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> ImageFeatures:
        """See `Engine`. Raises ValueError for another shape than [B, 3, S, S]."""
        size = self.preprocessing.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, size, size):
            raise ValueError(f"pixel values have shape {pixel_values.shape}, expected (B, 3, {size}, {size})")
        images = torch.tensor(pixel_values, dtype=torch.float32, device=self._device)
        features = self._model.backbone.encode_images(images.contiguous(memory_format=torch.channels_last))
        if self._context is None:
            return features
        return replace(features, rebuilt_tokens=self._model.head.reconstruct(features, self._context))

    @torch.inference_mode()
    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> LabelFeatures:
        """See `Engine`."""
        return self._model.head.label_features(
            self._model.backbone.encode_labels(vocabulary.labels, progress)
        )

    @torch.inference_mode()
    def score(self, image_features: ImageFeatures, label_features: LabelFeatures) -> npt.NDArray[np.float32]:
        """See `Engine`. Memory does not grow with the labels in the context form; the published form needs
        all of them at once."""
        if not self._in_context:
            return _to_numpy(self._model.head.score(image_features, label_features))
        one_label = image_features.patch_tokens[:, :, 0]
        blocks = block_slices(len(label_features.refined), one_label)
        scores = [
            self._model.head.score(
                image_features,
                replace(
                    label_features,
                    label_embeddings=label_features.label_embeddings[block],
                    refined=label_features.refined[block],
                ),
            )
            for block in blocks
        ]
        return _to_numpy(torch.cat(scores, dim=1))

    def probabilities(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See `Engine`. In the context form the sigmoid of the logit.

        Scores of the published form are no logits: their size depends on the label set. They are first
        standardised over the labels of the photograph, so that 0.5 is the average label, 0.73 one deviation
        above it and 0.95 three. That ranks and can be cut, but says nothing of a label alone.
        """
        if not self._in_context:
            deviation = logits.std(axis=1, keepdims=True)
            logits = (logits - logits.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
        return _to_numpy(torch.from_numpy(logits).sigmoid())

    @torch.inference_mode()
    def explain(
        self, image_features: ImageFeatures, label_features: LabelFeatures
    ) -> npt.NDArray[np.float32]:
        """See `Engine`. In the context form cosines, in the published form dot products."""
        local = self._model.head.local_scores(image_features, label_features)
        return _to_numpy(local.mT.unflatten(2, image_features.grid))  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def _context_features(self) -> LabelFeatures | None:
        """The head's context as a label set, where the patch tokens are rebuilt under it alone."""
        head = self._model.head
        if self._in_context and isinstance(head, SigRLHead) and head.svfr is not None:
            return head.label_features(head.context_label_embeddings)
        return None


def _find_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {name!r} cannot be used ({error}): use cpu, or leave it out") from error


def _to_numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
