"""What the service needs of a checkpoint, whatever computes it. Imports without torch."""

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
"""What an engine knows of a batch of photographs. Only the engine that made it can read it."""
LabelFeatures: TypeAlias = Any
"""What an engine knows of a vocabulary: a dataclass whose fields are arrays or None, so that its size can be
told. Only the engine that made it can read it."""

ImagesT = TypeVar("ImagesT", default=ImageFeatures)
LabelsT = TypeVar("LabelsT", default=LabelFeatures)


class Engine(Protocol[ImagesT, LabelsT]):
    """One checkpoint, ready to tag. Implementations may be called by several threads at once."""

    @property
    def checkpoint_id(self) -> str:
        """Names the bundle; goes into every answer."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What `sigrl.model.preprocess.preprocess` does to a photograph for `encode_images`."""
        ...

    @property
    def default_threshold(self) -> float:
        """Probability from which on a label counts as present, where nobody sets another and nothing is known
        of the label itself."""
        ...

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> ImagesT:
        """[B, 3, S, S] -> what `score` needs of the photographs, for any number of vocabularies."""
        ...

    def encode_labels(self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None) -> LabelsT:
        """Once per vocabulary. `progress` gets the number of labels done."""
        ...

    def pack_labels(self, label_features: LabelsT) -> dict[str, npt.NDArray[np.float32]]:
        """What `encode_labels` gave, as arrays that can be kept."""
        ...

    def unpack_labels(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> LabelsT:
        """What `pack_labels` packed, in this process or another with the same checkpoint and the same kind of
        engine: scores are the same to the last bit. Raises ValueError for arrays of another kind."""
        ...

    def score(self, image_features: ImagesT, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """Logits [B, C]."""
        ...

    def probabilities(
        self, logits: npt.NDArray[np.float32], label_features: LabelsT
    ) -> npt.NDArray[np.float32]:
        """Of the logits [B, C] of these labels: [B, C], in 0..1, of each label increasing with the logit."""
        ...

    def thresholds(self, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """Probabilities from which on each label counts as present [C], where nobody sets another: the
        labels' own where the checkpoint has a background set, else `default_threshold`."""
        ...

    def thresholds_for(self, label_features: LabelsT, goal: EverydayGoal) -> npt.NDArray[np.float32]:
        """Probabilities [C] from which on everyday photographs that get a label keep the goal: see
        `sigrl.model.label_calibration.everyday_thresholds`. Raises ValueError where the checkpoint has no
        background set."""
        ...

    def familiarity(self, label_features: LabelsT) -> npt.NDArray[np.float32] | None:
        """How well the checkpoint knows each label, in 0..1 [C]: 0 where its scores say nothing of the label;
        None where it cannot tell."""
        ...

    def background_logits(self, label_features: LabelsT) -> npt.NDArray[np.float32] | None:
        """Logits [N, C] on the checkpoint's background set, for judging a list of labels; None: it has
        none."""
        ...

    def keep_images(self, image_features: ImagesT) -> KeptFeatures:
        """What is worth keeping of photographs, so that labels can be looked for on them later."""
        ...

    def score_kept(self, photographs: KeptFeatures, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """Logits [N, C] of what this checkpoint's `keep_images` gave, or several of them joined: nearly those
        of `score`."""
        ...

    def calibrate_by_examples(
        self,
        label_features: LabelsT,
        examples: KeptFeatures | None,
        labels: npt.NDArray[np.int8],
        goal: Goal,
    ) -> LabelsT:
        """The same labels with probabilities and thresholds fitted to N examples, of which `labels` [N, C]
        tells what they show: +1, -1, or 0 where nobody knows; there may be no examples at all. See
        `sigrl.model.label_calibration.refine`. For a false-positive rate it raises as
        `thresholds_for` does."""
        ...

    def image_embeddings(self, image_features: ImagesT) -> npt.NDArray[np.float32]:
        """[B, D], each of length 1; their products with `label_embeddings` are the cosines of global
        matching."""
        ...

    def label_embeddings(self, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """[C, D], each of length 1."""
        ...

    def explain(self, image_features: ImagesT, label_features: LabelsT) -> npt.NDArray[np.float32]:
        """How much each place on a grid of the photograph speaks for each label, [B, C, h, w]: the higher,
        the more. The grid may be coarser than that of the patch tokens."""
        ...
