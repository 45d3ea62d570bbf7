"""Keeps the features of photographs after their request has ended. Independent of HTTP."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock

from pydantic import ConfigDict, Field

from sigrl.model.engine import ImageFeatures
from sigrl.model.kept_features import KeptFeatures, join
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.tagging.scoring import Question, Scores


class KeptPhotograph(Tagging):
    """A photograph's tags and its features to keep."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    features: KeptFeatures = Field(exclude=True)
    """The features of this one photograph."""


class Keep(Question):
    """A question that also asks for the features to keep."""

    def look_closer(self, scores: Scores, features_of_one: Callable[[], ImageFeatures]) -> Scores:
        """Adds the features."""
        return replace(scores, closer=self.engine.keep_images(features_of_one()))

    def answer(self, scores: Scores) -> KeptPhotograph:
        """The tags and the features of one photograph."""
        assert isinstance(scores.closer, KeptFeatures)
        return KeptPhotograph(**dict(super().answer(scores)), features=scores.closer)


class RecentPhotographs:
    """The features of the most recently tagged photographs; no photograph can be reconstructed from them.
    Thread-safe."""

    def __init__(self, most: int) -> None:
        """Keeps at most `most` photographs; with 0, none."""
        self._lock = Lock()
        self._kept: deque[tuple[str, KeptFeatures]] = deque(maxlen=most)

    @property
    def most(self) -> int:
        """The largest number of photographs kept."""
        return self._kept.maxlen or 0

    def note(self, taggings: Sequence[Tagging]) -> None:
        """Keeps a tagged photograph if its taggings include features."""
        kept = next((each for each in taggings if isinstance(each, KeptPhotograph)), None)
        if kept is not None:
            with self._lock:
                self._kept.append((kept.checkpoint, kept.features))

    def seen_by(self, checkpoint: str) -> KeptFeatures | None:
        """The features of the photographs that this checkpoint tagged. Those from other checkpoints are left
        out, because they do not determine its scores."""
        with self._lock:
            parts = [features for seen_by, features in self._kept if seen_by == checkpoint]
        return join(parts) if parts else None
