"""What the service needs from a checkpoint, on any runtime. Imports without torch."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from sigrl.model.config import Preprocessing
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.label_calibration import EverydayGoal, Goal
from sigrl.model.vocabulary import Vocabulary

ImageFeatures: TypeAlias = Any
"""An engine's features of a batch of photographs. Only the engine that made them can read them."""
LabelFeatures: TypeAlias = Any
"""An engine's features of a vocabulary: a dataclass whose fields are arrays or None, so that its size can be
computed. Only the engine that made them can read them."""

ImagesT = TypeVar("ImagesT", default=ImageFeatures)
LabelsT = TypeVar("LabelsT", default=LabelFeatures)


class Engine(Protocol[ImagesT, LabelsT]):
    """One checkpoint, ready to tag. Several threads may call it at once."""

    @property
    def checkpoint_id(self) -> str:
        """Identifies the bundle; every answer contains it."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What `sigrl.model.preprocess.preprocess` does to a photograph for `encode_images`."""
        ...

    @property
    def default_threshold(self) -> float:
        """A label counts as present at or above this probability, if the caller sets no threshold and the
        label has none of its own."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether the checkpoint has a background set, so that every label gets a calibrated probability."""
        ...

    @property
    def scores_kept(self) -> bool:
        """Whether `score_kept` works: a head that looks at parts of the photographs again needs their
        pixels, which are not kept."""
        ...

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> ImagesT:
        """[B, 3, S, S] -> features for `score`, which fit every vocabulary."""
        ...

    def encode_labels(self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None) -> LabelsT:
        """Called once per vocabulary. `progress` gets the number of labels done."""
        ...

    def pack_labels(self, label_features: LabelsT) -> dict[str, npt.NDArray[np.float32]]:
        """The result of `encode_labels` as arrays that can be stored."""
        ...

    def unpack_labels(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> LabelsT:
        """Reverses `pack_labels`. The arrays may come from another process with the same checkpoint and the
        same kind of engine; scores are then bit-identical. Raises ValueError for any other arrays."""
        ...

    def score(self, image_features: ImagesT, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """Logits [B, C]."""
        ...

    def probabilities(
        self, logits: npt.NDArray[np.float32], label_features: LabelsT
    ) -> npt.NDArray[np.float32]:
        """Logits [B, C] of these labels -> probabilities [B, C] in 0..1, increasing in each label's logit."""
        ...

    def thresholds(self, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """Each label's threshold [C], used if the caller sets none: the label's own if the checkpoint has a
        background set, else `default_threshold`. A label counts as present at or above it."""
        ...

    def thresholds_for(self, label_features: LabelsT, goal: EverydayGoal) -> npt.NDArray[np.float32]:
        """Thresholds [C] that meet the goal on everyday photographs: see
        `sigrl.model.label_calibration.everyday_thresholds`. Raises ValueError if the checkpoint has no
        background set."""
        ...

    def familiarity(self, label_features: LabelsT) -> npt.NDArray[np.float32] | None:
        """How well the checkpoint knows each label [C], in 0..1; at 0 its scores carry no information on the
        label. None if the checkpoint cannot tell."""
        ...

    def background_logits(self, label_features: LabelsT) -> npt.NDArray[np.float32] | None:
        """Logits [N, C] on the checkpoint's background set, for judging a list of labels; None if it has no
        such set."""
        ...

    def keep_images(self, image_features: ImagesT) -> KeptFeatures:
        """Features of photographs to store, so that other labels can be scored on them later."""
        ...

    def score_kept(self, photographs: KeptFeatures, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """Logits [N, C] from one result of this checkpoint's `keep_images`, or from several joined; they are
        nearly those of `score`. Raises ValueError unless `scores_kept`."""
        ...

    def calibrate_by_examples(
        self,
        label_features: LabelsT,
        examples: KeptFeatures | None,
        labels: npt.NDArray[np.int8],
        goal: Goal,
    ) -> LabelsT:
        """The same labels with probabilities and thresholds fitted to N examples, or to none. `labels` [N, C]
        is +1 where the label applies, -1 where it does not, and 0 where that is unknown. See
        `sigrl.model.label_calibration.calibrate_by_examples`. For a false-positive rate it raises as
        `thresholds_for` does, and with examples as `score_kept` does."""
        ...

    def image_embeddings(self, image_features: ImagesT) -> npt.NDArray[np.float32]:
        """[B, D], each of length 1; their products with `label_embeddings` are the cosines of global
        matching."""
        ...

    def label_embeddings(self, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """[C, D], each of length 1."""
        ...

    def explain(self, image_features: ImagesT, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """How strongly each cell of a grid over the photograph supports each label [B, C, h, w]; higher is
        stronger. The grid may be coarser than that of the patch tokens."""
        ...
