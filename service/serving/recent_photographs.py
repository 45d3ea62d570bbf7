"""Features of photographs that outlive their request, with no HTTP in it."""

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
    """A photograph's tags, and the features of it that are kept."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    features: KeptFeatures = Field(exclude=True)
    """Of this one photograph."""


class Keep(Question):
    """Asks for the features that are worth keeping, whatever the labels."""

    def look_closer(self, scores: Scores, features_of_one: Callable[[], ImageFeatures]) -> Scores:
        """With the features."""
        return replace(scores, closer=self.engine.keep_images(features_of_one()))

    def answer(self, scores: Scores) -> KeptPhotograph:
        """The features of one photograph."""
        assert isinstance(scores.closer, KeptFeatures)
        return KeptPhotograph(**dict(super().answer(scores)), features=scores.closer)


class RecentPhotographs:
    """The photographs tagged last, as features of which no photograph can be made. Safe for threads."""

    def __init__(self, most: int) -> None:
        """`most`: so many are kept; 0 keeps none."""
        self._lock = Lock()
        self._kept: deque[tuple[str, KeptFeatures]] = deque(maxlen=most)

    @property
    def most(self) -> int:
        """How many are kept."""
        return self._kept.maxlen or 0

    def note(self, taggings: Sequence[Tagging]) -> None:
        """A photograph was tagged; it counts where its features were asked for."""
        kept = next((each for each in taggings if isinstance(each, KeptPhotograph)), None)
        if kept is not None:
            with self._lock:
                self._kept.append((kept.checkpoint, kept.features))

    def seen_by(self, checkpoint: str) -> KeptFeatures | None:
        """Those that this checkpoint tagged; features of another one tell nothing of its scores."""
        with self._lock:
            parts = [features for seen_by, features in self._kept if seen_by == checkpoint]
        return join(parts) if parts else None
