"""The background set: a checkpoint's features of everyday photographs, stored in its bundle. Imports without
torch.

A vocabulary's labels are scored on it once, and `sigrl.model.calibration` derives each label's calibration
from the scores.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from sigrl.model.bundle_files import BundleFiles
from sigrl.model.calibration import CalibrationConfig, LabelCalibration, calibrate_labels, familiarity
from sigrl.model.kept_features import KeptFeatures, check_tensor, read_tensors
from sigrl.model.manifest import CALIBRATION

Array = npt.NDArray[np.float32]

_TRAINED = "trained_labels"


@dataclass(frozen=True, eq=False)
class Background:
    """N photographs and K labels in the joint space of D dimensions."""

    photographs: KeptFeatures
    trained_labels: npt.NDArray[np.float16]
    """[K, D]: text features of the labels whose logits already are probabilities."""


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Calibrates any label of a checkpoint."""

    background: Background
    config: CalibrationConfig
    default_threshold: float
    """The checkpoint's default threshold, a probability."""

    @property
    def photographs(self) -> int:
        """N, the number of photographs."""
        return len(self.background.photographs)

    def calibrate(self, label_embeddings: Array, background_logits: Array) -> LabelCalibration:
        """The calibration [C, 3] of text features [C, D] and logits on the background set [N, C]."""
        familiar = familiarity(label_embeddings, self.background.trained_labels.astype(np.float32))
        return calibrate_labels(background_logits, familiar, self.config, self.default_threshold)


def make_background(photographs: KeptFeatures, trained_labels: Array) -> Background:
    """The background set of N photographs' kept features and the text features [K, D] of the trained
    labels."""
    return Background(photographs, trained_labels.astype(np.float16))


def save_background(background: Background) -> bytes:
    """The background set in the safetensors format."""
    return save({**background.photographs.tensors(), _TRAINED: background.trained_labels})


def calibrator_of(files: BundleFiles) -> Calibrator | None:
    """The calibrator of a bundle's labels, or None without a background set. Raises ValueError when the set
    is damaged or does not have the manifest's numbers of photographs and dimensions."""
    manifest = files.manifest
    if manifest.calibration is None:
        return None
    photographs, embed_dim = manifest.calibration.photographs, manifest.backbone.embed_dim
    try:
        background = _load(files.contents[CALIBRATION], photographs, embed_dim)
    except ValueError as error:
        raise ValueError(f"{CALIBRATION}: {error}: make the bundle again") from error
    return Calibrator(background, manifest.calibration, manifest.default_threshold)


def _load(content: bytes, photographs: int, embed_dim: int) -> Background:
    tensors = read_tensors(content)
    trained = tensors.pop(_TRAINED, None)
    if trained is None:
        raise ValueError(f"it contains {sorted(tensors)}, but not `{_TRAINED}`")
    check_tensor(_TRAINED, trained, (len(trained) if trained.ndim else 0, embed_dim), np.float16)
    return Background(KeptFeatures.checked(tensors, photographs, embed_dim), trained.astype(np.float16))
