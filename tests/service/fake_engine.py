"""A small engine that satisfies `sigrl.model.engine.Engine` without torch: it sees nothing but colours."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sigrl.model.calibration import NO_BACKGROUND, THRESHOLD, probabilities
from sigrl.model.config import Preprocessing
from sigrl.model.kept_features import KeptFeatures, keep
from sigrl.model.label_calibration import EverydayGoal, Goal, everyday_thresholds, fit_labels
from sigrl.model.vocabulary import Vocabulary

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "black": (0, 0, 0)}

PREPROCESSING = Preprocessing(image_size=32, resize="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True)
class FakeFeatures:
    values: np.ndarray
    """Of B photographs [B, 2, 3]: the mean colour of each half. Of C labels [C, 4]: a colour and a bias."""
    calibration: np.ndarray | None = None


@dataclass
class FakeEngine:
    """Logit of a colour's name: 4 - 10 x distance from the nearest half of the photograph; any other label
    gets a constant below its threshold that depends on its name alone."""

    checkpoint_id: str = "sha256:fake"
    preprocessing: Preprocessing = PREPROCESSING
    default_threshold: float = 0.5
    has_background: bool = False
    scores_kept: bool = True
    unknown: tuple[str, ...] = ()
    """Labels other than colours that it does not know; without any it cannot tell."""
    encoded: list[tuple[str, ...]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    delay: float = 0.0
    working: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calibrated(self) -> bool:
        return self.has_background

    def encode_images(self, pixel_values: np.ndarray) -> FakeFeatures:
        assert pixel_values.dtype == np.float32
        assert self.working.acquire(blocking=False), "two threads are in the image tower"
        try:
            time.sleep(self.delay)
            self.batches.append(len(pixel_values))
            halves = np.split(pixel_values, 2, axis=3)
            return FakeFeatures(np.stack([half.mean(axis=(2, 3)) for half in halves], axis=1))
        finally:
            self.working.release()

    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> FakeFeatures:
        self.encoded.append(vocabulary.names)
        time.sleep(self.delay)
        if progress is not None:
            progress(len(vocabulary.names))
        return FakeFeatures(np.array([self._label(each.english) for each in vocabulary.labels], np.float32))

    def _label(self, name: str) -> tuple[float, float, float, float]:
        if name in COLOURS:
            return (*COLOURS[name], 4.0)
        return (0.0, 0.0, 0.0, -1.0 - hashlib.sha256(name.encode()).digest()[0] / 256)

    def pack_labels(self, label_features: FakeFeatures) -> dict[str, np.ndarray]:
        return {"values": label_features.values}

    def unpack_labels(self, arrays: Mapping[str, np.ndarray]) -> FakeFeatures:
        return FakeFeatures(**arrays)

    def score(self, image_features: FakeFeatures, label_features: FakeFeatures) -> np.ndarray:
        colours, bias = label_features.values[:, :3], label_features.values[:, 3]
        gap = np.linalg.norm(image_features.values[:, :, None] - colours[None, None], axis=-1).min(axis=1)
        return np.where(bias > 0, bias - 10 * gap, bias).astype(np.float32)

    def probabilities(self, logits: np.ndarray, label_features: FakeFeatures) -> np.ndarray:
        assert logits.shape[1] == len(label_features.values)
        return probabilities(logits, "context", label_features.calibration)

    def thresholds(self, label_features: FakeFeatures) -> np.ndarray:
        if label_features.calibration is not None:
            return label_features.calibration[:, THRESHOLD]
        return np.full(len(label_features.values), self.default_threshold, np.float32)

    def background_logits(self, label_features: FakeFeatures) -> np.ndarray | None:
        """On one photograph of each colour, if it has a background set."""
        if not self.has_background:
            return None
        colours = np.array(list(COLOURS.values()), np.float32)
        return self.score(FakeFeatures(np.stack([colours, colours], axis=1)), label_features)

    def thresholds_for(self, label_features: FakeFeatures, goal: EverydayGoal) -> np.ndarray:
        background = self.background_logits(label_features)
        if background is None:
            raise ValueError(NO_BACKGROUND)
        return everyday_thresholds(self.probabilities(background, label_features), goal)

    def familiarity(self, label_features: FakeFeatures) -> np.ndarray | None:
        if not self.unknown:
            return None
        biases = [self._label(name)[3] for name in self.unknown]
        return np.where(np.isin(label_features.values[:, 3], np.float32(biases)), 0.0, 1.0)

    def label_embeddings(self, label_features: FakeFeatures) -> np.ndarray:
        values = label_features.values
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    def image_embeddings(self, image_features: FakeFeatures) -> np.ndarray:
        values = np.pad(image_features.values.mean(axis=1), ((0, 0), (0, 1)), constant_values=1)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    def explain(self, image_features: FakeFeatures, label_features: FakeFeatures) -> np.ndarray:
        """Two patches, the halves of the photograph: each says how near it is to a label's colour."""
        assert len(image_features.values) == 1
        gap = np.linalg.norm(image_features.values[:, :, None] - label_features.values[:, :3], axis=-1)
        return -gap.transpose(0, 2, 1)[:, :, None, :].astype(np.float32)

    def keep_images(self, image_features: FakeFeatures) -> KeptFeatures:
        rows = image_features.values.reshape(-1, 6)
        return keep(rows, rows[:, None])

    def score_kept(self, photographs: KeptFeatures, label_features: FakeFeatures) -> np.ndarray:
        halves = photographs.image_embeddings.astype(np.float32).reshape(-1, 2, 3)
        return self.score(FakeFeatures(halves), label_features)

    def calibrate_by_examples(
        self, label_features: FakeFeatures, examples: KeptFeatures | None, labels: np.ndarray, goal: Goal
    ) -> FakeFeatures:
        fitted = fit_labels(
            label_features.calibration,
            None if examples is None else self.score_kept(examples, label_features),
            labels,
            goal,
            background=self.background_logits(label_features),
            form="context",
            default_threshold=self.default_threshold,
        )
        return replace(label_features, calibration=fitted)
