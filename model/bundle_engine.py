"""What all engines share: calibration, the evidence head, and how photographs and labels are kept. Imports
without torch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sigrl.model.background import Calibrator
from sigrl.model.calibration import NO_BACKGROUND, calibrated_already, probabilities, thresholds
from sigrl.model.commonness import by_commonness, known_commonness
from sigrl.model.evidence import Evidence, Photographs, evidence_of
from sigrl.model.features import ImageFeatures, LabelFeatures, pool_tokens, unit_norm
from sigrl.model.kept_features import KeptFeatures, keep
from sigrl.model.label_calibration import EverydayGoal, Goal, everyday_thresholds, fit_labels
from sigrl.model.label_texts import check_label_arrays, named_by, packed_widths
from sigrl.model.leaving_out import falls
from sigrl.model.manifest import Manifest
from sigrl.model.region_maps import Regions, region_maps
from sigrl.model.vocabulary import Label, Vocabulary

Array = npt.NDArray[np.float32]
ArrayT = TypeVar("ArrayT", bound=Sized)
"""The type of the engine's features: `Tensor` or `Array`."""
# Labels between two pauses: a tenth of a second of work.
_SLICE = 256


class BundleEngine(ABC, Generic[ArrayT]):
    """An `Engine` without the towers and the head, which a subclass runs."""

    def __init__(
        self,
        manifest: Manifest,
        checkpoint_id: str,
        calibrator: Calibrator | None,
        head: Mapping[str, Array],
    ) -> None:
        """`head` maps the names of the head's tensors to the tensors; only an evidence head needs any."""
        self.manifest = manifest
        self.checkpoint_id = checkpoint_id
        self.preprocessing = manifest.preprocessing
        self.default_threshold = manifest.default_threshold
        self._calibrator = calibrator
        self._evidence = evidence_of(manifest.head, manifest.backbone, head)
        self._in_context = manifest.head.form == "context"
        self._matches_patches = manifest.head.kind not in ("clip", "sparc")
        # What stands for the background of an area; `named_by` leaves out what a request asks for.
        self._background_names = manifest.head.context_labels if manifest.head.kind == "tagclip" else ()
        self._keeps_pixels = bool(self._background_names) or not self._matches_patches
        embed_dim = manifest.backbone.embed_dim
        rows = embed_dim + 1 if manifest.head.kind == "piaa" else len(self._background_names)
        self._packed = packed_widths(
            embed_dim,
            calibration=calibrator is not None or manifest.head.adds_commonness,
            background=0 if calibrator is None else calibrator.photographs,
            evidence=rows if self._evidence is None else self._evidence.width,
        )

    @abstractmethod
    def _run_image_tower(self, pixel_values: Array) -> ImageFeatures[ArrayT]:
        """Image features from pixel values [B, 3, S, S]."""

    @abstractmethod
    def _embed(self, labels: Sequence[Label], progress: Callable[[int], None] | None) -> ArrayT:
        """Returns text features [C, D]."""

    @abstractmethod
    def _refine(self, label_embeddings: ArrayT) -> LabelFeatures[ArrayT]:
        """Label features from text features [C, D]."""

    @abstractmethod
    def _match(self, images: ImageFeatures[ArrayT], labels: LabelFeatures[ArrayT]) -> Array:
        """Logits [B, C], for every head except the evidence head."""

    @abstractmethod
    def _local_scores(self, images: ImageFeatures[ArrayT], labels: LabelFeatures[ArrayT]) -> Array:
        """How well each patch matches each label [B, C, P], for every head except the evidence head."""

    @abstractmethod
    def _read_regions(self, images: ImageFeatures[ArrayT]) -> Regions:
        """The tower's output for each region of the photographs; only for an evidence head."""

    @property
    @abstractmethod
    def _rebuilds_tokens(self) -> bool:
        """Whether `ImageFeatures.rebuilt_tokens` is set: the head computes it from the photograph alone."""

    @abstractmethod
    def _to_numpy(self, array: ArrayT) -> Array: ...

    @abstractmethod
    def _from_numpy(self, array: Array) -> ArrayT: ...

    @property
    def calibrated(self) -> bool:
        """See `Engine`."""
        return self._calibrator is not None

    @property
    def scores_kept(self) -> bool:
        """See `Engine`."""
        return self.manifest.head.kind != "tagclip"

    def encode_images(self, pixel_values: Array) -> ImageFeatures[ArrayT]:
        """See `Engine`. Raises ValueError if the shape is not [B, 3, S, S]."""
        size = self.preprocessing.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, size, size):
            raise ValueError(f"pixel values have shape {pixel_values.shape}, expected (B, 3, {size}, {size})")
        features = self._run_image_tower(pixel_values)
        return replace(features, pixel_values=pixel_values) if self._keeps_pixels else features

    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> LabelFeatures[ArrayT]:
        """See `Engine`."""
        embeddings = self._embed(vocabulary.labels, progress)
        features = self._refine(embeddings)
        if self._background_names:
            features = replace(features, evidence=named_by(vocabulary.labels, self._background_names))
        if self._calibrator is None:
            if not self.manifest.head.adds_commonness:
                return features
            prior = by_commonness(vocabulary.labels, self.default_threshold, known_commonness())
            return replace(features, calibration=prior)
        background, count = self._calibrator.background.photographs, len(vocabulary.labels)

        def pause() -> None:
            if progress is not None:
                progress(count)

        pause()
        if self._evidence is not None:
            unit = self._to_numpy(features.refined)
            rows, logits = _describe_and_score(self._evidence, vocabulary.labels, unit, background, pause)
            features = replace(features, evidence=rows)
            calibration = calibrated_already(self._evidence.thresholds(rows, self.default_threshold))
        else:
            logits = self._score_kept(background, features, pause)
            calibration = self._calibrator.calibrate(self._to_numpy(embeddings), logits)
        return replace(features, calibration=calibration, background=np.ascontiguousarray(logits.T))

    def pack_labels(self, label_features: LabelFeatures[ArrayT]) -> dict[str, Array]:
        """See `Engine`."""
        both = {name: getattr(label_features, name) for name in ("label_embeddings", "refined")}
        # The refined context is left out: each engine rebuilds patch tokens with its own.
        others = {name: getattr(label_features, name) for name in self._packed if name not in both}
        return {name: self._to_numpy(array) for name, array in both.items()} | others

    def unpack_labels(self, arrays: Mapping[str, Array]) -> LabelFeatures[ArrayT]:
        """See `Engine`."""
        check_label_arrays(arrays, self._packed)
        return LabelFeatures(
            self._from_numpy(arrays["label_embeddings"]),
            self._from_numpy(arrays["refined"]),
            calibration=arrays.get("calibration"),
            background=arrays.get("background"),
            evidence=arrays.get("evidence"),
        )

    def score(self, image_features: ImageFeatures[ArrayT], label_features: LabelFeatures[ArrayT]) -> Array:
        """See `Engine`. In the context form and with `biam`, only the scores need more memory for more
        labels; the published form of the other heads needs all labels at once."""
        if self._evidence is None:
            return self._match(image_features, label_features)
        unit = self._to_numpy(label_features.refined)
        return self._evidence.score(self._photographs(image_features), unit, label_features.evidence)

    def probabilities(self, logits: Array, label_features: LabelFeatures[ArrayT]) -> Array:
        """See `Engine` and `sigrl.model.calibration`."""
        return probabilities(logits, self.manifest.head.form, label_features.calibration)

    def thresholds(self, label_features: LabelFeatures[ArrayT]) -> Array:
        """See `Engine`."""
        return thresholds(label_features.calibration, len(label_features.refined), self.default_threshold)

    def thresholds_for(self, label_features: LabelFeatures[ArrayT], goal: EverydayGoal) -> Array:
        """See `Engine`."""
        background = self.background_logits(label_features)
        if background is None:
            raise ValueError(NO_BACKGROUND)
        return everyday_thresholds(self.probabilities(background, label_features), goal)

    def background_logits(self, label_features: LabelFeatures[ArrayT]) -> Array | None:
        """See `Engine`."""
        return None if label_features.background is None else label_features.background.T

    def familiarity(self, label_features: LabelFeatures[ArrayT]) -> Array | None:
        """See `Engine`."""
        rows = label_features.evidence
        return None if self._evidence is None or rows is None else self._evidence.familiarity(rows)

    def keep_images(self, image_features: ImageFeatures[ArrayT]) -> KeptFeatures:
        """See `Engine`."""
        if self._evidence is not None:
            found = self._photographs(image_features)
            return keep(found.embeddings, found.tokens, found.word_logits)
        rebuilt = image_features.rebuilt_tokens
        tokens = self._to_numpy(image_features.patch_tokens if rebuilt is None else rebuilt)
        if not self._matches_patches:
            tokens = np.zeros_like(tokens[:, :1])
        return keep(self._to_numpy(image_features.image_embeddings), tokens)

    def score_kept(self, photographs: KeptFeatures, label_features: LabelFeatures[ArrayT]) -> Array:
        """See `Engine`."""
        if self._evidence is not None:
            unit = self._to_numpy(label_features.refined)
            return self._evidence.score_kept(photographs, unit, label_features.evidence)
        return self._score_kept(photographs, label_features, lambda: None)

    def _score_kept(
        self, photographs: KeptFeatures, label_features: LabelFeatures[ArrayT], pause: Callable[[], None]
    ) -> Array:
        def score(image_embeddings: Array, patch_tokens: Array, _: Array | None) -> Array:
            pause()
            tokens = self._from_numpy(patch_tokens)
            images = ImageFeatures(
                self._from_numpy(image_embeddings),
                tokens,
                (1, patch_tokens.shape[1]),
                rebuilt_tokens=tokens if self._rebuilds_tokens else None,
            )
            return self._match(images, label_features)

        return photographs.logits(score)

    def calibrate_by_examples(
        self,
        label_features: LabelFeatures[ArrayT],
        examples: KeptFeatures | None,
        labels: npt.NDArray[np.int8],
        goal: Goal,
    ) -> LabelFeatures[ArrayT]:
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

    def image_embeddings(self, image_features: ImageFeatures[ArrayT]) -> Array:
        """See `Engine`."""
        return unit_norm(self._to_numpy(image_features.image_embeddings))

    def label_embeddings(self, label_features: LabelFeatures[ArrayT]) -> Array:
        """See `Engine`."""
        matched = label_features.refined if self._in_context else label_features.label_embeddings
        return unit_norm(self._to_numpy(matched))

    def explain(self, image_features: ImageFeatures[ArrayT], label_features: LabelFeatures[ArrayT]) -> Array:
        """See `Engine`. An evidence head gives logits (`region_maps`). Heads that match whole photographs
        alone give differences of scores (`falls`). Heads that match patches give the patches' scores: cosines
        in the context form and dot products in the published form."""
        if self._evidence is not None:
            regions = self._read_regions(image_features)
            labels = self._to_numpy(label_features.refined), label_features.evidence
            return region_maps(self._evidence, regions, *labels, image_features.grid)
        if not self._matches_patches and image_features.pixel_values is not None:

            def score(pixel_values: Array) -> Array:
                return self._match(self._run_image_tower(pixel_values), label_features)

            return falls(score, image_features.pixel_values)
        local = self._local_scores(image_features, label_features)
        return local.reshape(*local.shape[:2], *image_features.grid)

    def _photographs(self, images: ImageFeatures[ArrayT]) -> Photographs:
        assert images.word_logits is not None
        tokens = pool_tokens(self._to_numpy(images.patch_tokens), images.grid)
        return Photographs(
            self._to_numpy(images.image_embeddings), tokens, self._to_numpy(images.word_logits)
        )


def _describe_and_score(
    evidence: Evidence,
    labels: Sequence[Label],
    unit: Array,
    background: KeptFeatures,
    pause: Callable[[], None],
) -> tuple[Array, Array]:
    """The evidence rows [C, width] of labels with embeddings `unit` [C, D], and their logits [N, C] on the
    background set. `pause` is called after each slice of labels."""
    rows = np.zeros((len(labels), evidence.width), np.float32)
    logits = np.zeros((len(background), len(labels)), np.float32)
    for start in range(0, len(labels), _SLICE):
        part = slice(start, start + _SLICE)
        rows[part] = evidence.describe(labels[part], unit[part], background)
        logits[:, part] = evidence.score_kept(background, unit[part], rows[part])
        pause()
    return rows, logits
