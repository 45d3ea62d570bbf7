"""The engine on PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.acceleration import PrecisionChoice, accelerate, choose_precision
from sigrl.model.blocks import block_slices
from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.bundle_files import bundled_path
from sigrl.model.calibration import NO_BACKGROUND, calibrated_already, probabilities, thresholds
from sigrl.model.evidence import Photographs, evidence_of, pool_tokens
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.heads import SigRLHead
from sigrl.model.kept_features import KeptFeatures, keep
from sigrl.model.label_calibration import EverydayGoal, Goal, everyday_thresholds, fit_labels
from sigrl.model.label_texts import check_label_arrays, packed_widths
from sigrl.model.region_maps import Regions, region_maps
from sigrl.model.vocabulary import Vocabulary


class TorchEngine:
    """A bundle on PyTorch. Features stay on the device, scores come back as NumPy arrays."""

    def __init__(
        self,
        bundle: Bundle,
        device: str | None = None,
        *,
        precision: PrecisionChoice = "auto",
        compiled: bool = False,
        svfr_labels: int | None = None,
    ) -> None:
        """Takes the bundle's model over, and changes it.

        Args:
            bundle: from `load_bundle`.
            device: "cpu", "cuda" or "cuda:1"; by default CUDA where there is any.
            precision: see `PrecisionChoice`.
            compiled: see `accelerate`.
            svfr_labels: see `SigRLHead.svfr_labels`.

        Raises:
            ValueError: this machine does not have the device, or the device not the precision.
        """
        self.checkpoint_id = bundle.checkpoint_id
        self.manifest = bundle.manifest
        self.preprocessing = bundle.manifest.preprocessing
        self.default_threshold = bundle.manifest.default_threshold
        self._calibrator = bundle.calibrator
        head_arrays = {name: _to_numpy(tensor) for name, tensor in bundle.model.head.state_dict().items()}
        self._evidence = evidence_of(self.manifest.head, head_arrays)
        self._packed = packed_widths(
            self.manifest.backbone.embed_dim,
            0 if self._calibrator is None else self._calibrator.photographs,
            0 if self._evidence is None else self._evidence.width,
        )
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
        """The engine of the bundle in directory `path`; None: the bundled one. Raises BundleError, and
        ValueError as the constructor does."""
        bundle = load_bundle(bundled_path() if path is None else path)
        return cls(bundle, device, precision=precision, compiled=compiled, svfr_labels=svfr_labels)

    @torch.inference_mode()
    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> ImageFeatures:
        """See `Engine`. Raises ValueError for another shape than [B, 3, S, S]."""
        size = self.preprocessing.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, size, size):
            raise ValueError(f"pixel values have shape {pixel_values.shape}, expected (B, 3, {size}, {size})")
        images = torch.tensor(pixel_values, dtype=self._tower_dtype, device=self._device)
        features = self._model.backbone.encode_images(images.contiguous(memory_format=torch.channels_last))
        features = replace(
            features,
            image_embeddings=features.image_embeddings.float(),
            patch_tokens=features.patch_tokens.float(),
            word_logits=None if features.word_logits is None else features.word_logits.float(),
        )
        if self._rebuild is None:
            return features
        return replace(features, rebuilt_tokens=self._rebuild(features))

    @torch.inference_mode()
    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> LabelFeatures:
        """See `Engine`."""
        embeddings = self._model.backbone.encode_labels(vocabulary.labels, progress)
        features = self._model.head.label_features(embeddings)
        if self._calibrator is None:
            return features
        background = self._calibrator.background.photographs
        if self._evidence is not None:
            rows = self._evidence.describe(vocabulary.labels, _to_numpy(features.refined), background)
            features = replace(features, evidence=rows)
        logits = self.score_kept(background, features)
        calibration = (
            self._calibrator.calibrate(_to_numpy(embeddings), logits)
            if self._evidence is None
            else calibrated_already(len(logits.T), self.default_threshold)
        )
        return replace(features, calibration=calibration, background=np.ascontiguousarray(logits.T))

    def pack_labels(self, label_features: LabelFeatures) -> dict[str, npt.NDArray[np.float32]]:
        """See `Engine`."""
        # Not the refined context: this engine rebuilds the patch tokens with its own.
        packed = {name: getattr(label_features, name) for name in self._packed}
        return {
            name: _to_numpy(value) if isinstance(value, Tensor) else value for name, value in packed.items()
        }

    def unpack_labels(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> LabelFeatures:
        """See `Engine`."""
        check_label_arrays(arrays, self._packed)
        label_embeddings, refined = (
            torch.tensor(arrays[name]).to(self._device) for name in ("label_embeddings", "refined")
        )
        return LabelFeatures(
            label_embeddings,
            refined,
            calibration=arrays.get("calibration"),
            background=arrays.get("background"),
            evidence=arrays.get("evidence"),
        )

    @torch.inference_mode()
    def score(self, image_features: ImageFeatures, label_features: LabelFeatures) -> npt.NDArray[np.float32]:
        """See `Engine`. Memory does not grow with the labels in the context form, nor with `biam`; the
        published form of the others needs all of them at once."""
        if self._evidence is not None:
            return self._evidence.score(
                self._photographs(image_features), _to_numpy(label_features.refined), label_features.evidence
            )
        if not self.manifest.head.independent_scores:
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

    def probabilities(
        self, logits: npt.NDArray[np.float32], label_features: LabelFeatures
    ) -> npt.NDArray[np.float32]:
        """See `Engine` and `sigrl.model.calibration`."""
        return probabilities(logits, self.manifest.head.form, label_features.calibration)

    def thresholds(self, label_features: LabelFeatures) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        return thresholds(label_features.calibration, len(label_features.refined), self.default_threshold)

    def background_logits(self, label_features: LabelFeatures) -> npt.NDArray[np.float32] | None:
        """See `Engine`."""
        return None if label_features.background is None else label_features.background.T

    def thresholds_for(self, label_features: LabelFeatures, goal: EverydayGoal) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        background = self.background_logits(label_features)
        if background is None:
            raise ValueError(NO_BACKGROUND)
        return everyday_thresholds(self.probabilities(background, label_features), goal)

    def familiarity(self, label_features: LabelFeatures) -> npt.NDArray[np.float32] | None:
        """See `Engine`."""
        rows = label_features.evidence
        return None if self._evidence is None or rows is None else self._evidence.familiarity(rows)

    @torch.inference_mode()
    def keep_images(self, image_features: ImageFeatures) -> KeptFeatures:
        """See `Engine`."""
        if self._evidence is not None:
            found = self._photographs(image_features)
            return keep(found.embeddings, found.tokens, found.word_logits)
        rebuilt = image_features.rebuilt_tokens
        tokens = image_features.patch_tokens if rebuilt is None else rebuilt
        if self.manifest.head.kind == "clip":
            tokens = torch.zeros_like(tokens[:, :1])
        return keep(_to_numpy(image_features.image_embeddings), _to_numpy(tokens))

    def score_kept(self, photographs: KeptFeatures, label_features: LabelFeatures) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        if self._evidence is not None:
            return self._evidence.score_kept(
                photographs, _to_numpy(label_features.refined), label_features.evidence
            )

        def score(
            image_embeddings: npt.NDArray[np.float32],
            patch_tokens: npt.NDArray[np.float32],
            _: npt.NDArray[np.float32] | None,
        ) -> npt.NDArray[np.float32]:
            tokens = torch.from_numpy(patch_tokens).to(self._device)
            images = torch.from_numpy(image_embeddings).to(self._device)
            rebuilt = None if self._rebuild is None else tokens
            features = ImageFeatures(images, tokens, (1, tokens.shape[1]), rebuilt_tokens=rebuilt)
            return self.score(features, label_features)

        return photographs.logits(score)

    def calibrate_by_examples(
        self,
        label_features: LabelFeatures,
        examples: KeptFeatures | None,
        labels: npt.NDArray[np.int8],
        goal: Goal,
    ) -> LabelFeatures:
        """See `Engine`."""
        fitted = fit_labels(
            label_features.calibration,
            None if examples is None else self.score_kept(examples, label_features),
            labels,
            goal,
            background=self.background_logits(label_features),
            form=self.manifest.head.form,
            default_threshold=self.default_threshold,
        )
        return replace(label_features, calibration=fitted)

    @torch.inference_mode()
    def image_embeddings(self, image_features: ImageFeatures) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        return _to_numpy(functional.normalize(image_features.image_embeddings, dim=-1))

    @torch.inference_mode()
    def label_embeddings(self, label_features: LabelFeatures) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        in_context = self.manifest.head.form == "context"
        matched = label_features.refined if in_context else label_features.label_embeddings
        return _to_numpy(functional.normalize(matched, dim=-1))

    @torch.inference_mode()
    def explain(
        self, image_features: ImageFeatures, label_features: LabelFeatures
    ) -> npt.NDArray[np.float32]:
        """See `Engine`. An evidence head gives logits (`region_maps`); other heads give cosines in the
        context form and dot products in the published form."""
        if self._evidence is not None:
            read_regions = self._model.backbone.visual.read_regions
            regions = Regions(*map(_to_numpy, read_regions(image_features.region_features)))
            labels = _to_numpy(label_features.refined), label_features.evidence
            return region_maps(self._evidence, regions, *labels, image_features.grid)
        local = self._model.head.local_scores(image_features, label_features)
        return _to_numpy(local.mT.unflatten(2, image_features.grid))  # type: ignore[no-untyped-call]

    def _photographs(self, image_features: ImageFeatures) -> Photographs:
        assert image_features.word_logits is not None
        return Photographs(
            _to_numpy(image_features.image_embeddings),
            pool_tokens(_to_numpy(image_features.patch_tokens), image_features.grid),
            _to_numpy(image_features.word_logits),
        )


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
