"""The engine on PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigrl.model.acceleration import PrecisionChoice, accelerate, choose_precision
from sigrl.model.blocks import block_slices
from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.bundle_engine import Array, BundleEngine
from sigrl.model.bundle_files import bundled_path
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.heads import SigRLHead
from sigrl.model.region_maps import Regions
from sigrl.model.vocabulary import Label


class TorchEngine(BundleEngine[Tensor]):
    """A bundle on PyTorch. Features stay on the device; scores are returned as NumPy arrays."""

    def __init__(
        self,
        bundle: Bundle,
        device: str | None = None,
        *,
        precision: PrecisionChoice = "auto",
        compiled: bool = False,
        svfr_labels: int | None = None,
    ) -> None:
        """Takes over the bundle's model and changes it.

        Args:
            bundle: from `load_bundle`.
            device: "cpu", "cuda" or "cuda:1"; the default is CUDA if there is a GPU.
            precision: see `PrecisionChoice`.
            compiled: see `accelerate`.
            svfr_labels: see `SigRLHead.svfr_labels`.

        Raises:
            ValueError: this machine does not have the device, or the device lacks the precision.
        """
        head = {name: self._to_numpy(tensor) for name, tensor in bundle.model.head.state_dict().items()}
        super().__init__(bundle.manifest, bundle.checkpoint_id, bundle.calibrator, head)
        self._device = _find_device(device)
        self.precision = choose_precision(precision, self._device)
        self._model = bundle.model
        size = self.preprocessing.image_size
        accelerate(self._model, size, self._device, self.precision, compiled=compiled)
        if isinstance(self._model.head, SigRLHead):
            self._model.head.svfr_labels = svfr_labels
        self._tower_dtype = next(self._model.backbone.visual.parameters()).dtype
        with torch.inference_mode():
            self._rebuild = self._model.head.rebuilder()

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        device: str | None = None,
        *,
        precision: PrecisionChoice = "auto",
        compiled: bool = False,
        svfr_labels: int | None = None,
    ) -> "TorchEngine":
        """The engine of the bundle in directory `path`; None means the bundled one. Raises BundleError, and
        ValueError as the constructor does."""
        bundle = load_bundle(bundled_path() if path is None else path)
        return cls(bundle, device, precision=precision, compiled=compiled, svfr_labels=svfr_labels)

    @torch.inference_mode()
    def _run_image_tower(self, pixel_values: Array) -> ImageFeatures:
        images = torch.tensor(pixel_values, dtype=self._tower_dtype, device=self._device)
        features = self._model.encode_images(images.contiguous(memory_format=torch.channels_last))
        features = replace(
            features,
            image_embeddings=features.image_embeddings.float(),
            patch_tokens=features.patch_tokens.float(),
            word_logits=None if features.word_logits is None else features.word_logits.float(),
            affinities=None if features.affinities is None else features.affinities.float(),
        )
        if self._rebuild is None:
            return features
        return replace(features, rebuilt_tokens=self._rebuild(features))

    @torch.inference_mode()
    def _embed(self, labels: Sequence[Label], progress: Callable[[int], None] | None) -> Tensor:
        return self._model.backbone.encode_labels(labels, progress)

    @torch.inference_mode()
    def _refine(self, label_embeddings: Tensor) -> LabelFeatures:
        return self._model.head.label_features(label_embeddings)

    @torch.inference_mode()
    def _match(self, images: ImageFeatures, labels: LabelFeatures) -> Array:
        if not self.manifest.head.independent_scores:
            return self._to_numpy(self._model.head.score(images, labels))
        one_label = images.patch_tokens[:, :, 0]
        scores = [
            self._model.head.score(
                images,
                replace(
                    labels,
                    label_embeddings=labels.label_embeddings[block],
                    refined=labels.refined[block],
                ),
            )
            for block in block_slices(len(labels.refined), one_label)
        ]
        return self._to_numpy(torch.cat(scores, dim=1))

    @torch.inference_mode()
    def _local_scores(self, images: ImageFeatures, labels: LabelFeatures) -> Array:
        return self._to_numpy(self._model.head.local_scores(images, labels).mT)

    @property
    def _rebuilds_tokens(self) -> bool:
        return self._rebuild is not None

    def _to_numpy(self, array: Tensor) -> Array:
        values: Array = array.float().cpu().numpy()
        return values

    @torch.inference_mode()
    def _read_regions(self, images: ImageFeatures) -> Regions:
        read = self._model.backbone.visual.read_regions
        return Regions(*map(self._to_numpy, read(images.region_features)))

    def _from_numpy(self, array: npt.NDArray[np.float32]) -> Tensor:
        return torch.tensor(array).to(self._device)


def _find_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {name!r} cannot be used ({error}): use cpu, or leave it out") from error
