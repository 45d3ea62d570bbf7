"""Makes heat maps, which show the places of a photograph that support a label. Independent of HTTP."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sigrl.model.engine import ImageFeatures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ModelError, ParameterError
from sigrl.service.schemas.tagging import Explanation, LabelMap, Tag, Tagging
from sigrl.service.tagging.scoring import Array, Question, Scores
from sigrl.service.tagging.selection import DEFAULT_TOP_K, GUESSES, Selection

MAX_MAPS = 32
"""The largest number of labels that one answer explains. It limits the size of the answer."""
_DIGITS = 4


def explained(
    vocabulary: Vocabulary, top_k: int | None, *, brief: bool, languages: tuple[str, ...] = ()
) -> Selection:
    """Selects the labels that are explained: the `top_k` most probable. Without `top_k`, if the caller named
    neither labels nor a vocabulary (`brief`), the tags of the photograph; else all labels of a vocabulary
    with at most 32, or the ten most probable. Raises ParameterError for a `top_k` above 32."""
    if top_k is not None and top_k > MAX_MAPS:
        raise ParameterError(f"top_k is {top_k}", f"ask for the maps of at most {MAX_MAPS} labels at once")
    count = len(vocabulary.labels)
    if top_k is None and not brief:
        top_k = count if count <= MAX_MAPS else DEFAULT_TOP_K
    return Selection(top_k, brief=brief, languages=languages)


class Explain(Question):
    """A question whose answer has maps of the selected labels."""

    @property
    def is_quick(self) -> bool:
        """Writing the maps takes a while."""
        return False

    def look_closer(self, scores: Scores, features_of_one: Callable[[], ImageFeatures]) -> Scores:
        """Adds the maps of the selected labels. The others are dropped here, because those of twenty thousand
        labels would be large."""
        if not np.isfinite(scores.logits).all():
            return scores
        # By the vocabulary's own names, because two translations may be equal.
        rows = {name: row for row, name in enumerate(self.vocabulary.names)}
        own = replace(self, selection=replace(self.selection, languages=()))
        chosen = [rows[tag.label] for tag in own._to_explain(Question.answer(own, scores), scores)]
        return replace(scores, closer=self.engine.explain(features_of_one(), self.features)[0, chosen])

    def answer(self, scores: Scores) -> Explanation:
        """The tags of one photograph with their maps."""
        tagging = super().answer(scores)
        tags = self._to_explain(tagging, scores)
        if not isinstance(scores.closer, np.ndarray):
            raise ValueError("the scores have no maps: they belong to another question")
        preprocessing = self.engine.preprocessing
        _, height, width = scores.closer.shape
        maps = zip(tags, scores.closer, strict=True)
        return Explanation(
            checkpoint=tagging.checkpoint,
            vocabulary=tagging.vocabulary,
            warnings=tagging.warnings,
            covers="photograph" if preprocessing.resize == "squash" else "centre-square",
            covered_side=round(preprocessing.seen_side, _DIGITS),
            height=height,
            width=width,
            tags=tuple(_label_map(tag, local_scores) for tag, local_scores in maps),
        )

    def _to_explain(self, tagging: Tagging, scores: Scores) -> tuple[Tag, ...]:
        """The tags, or the guesses, or else the most probable labels: there is always something to show."""
        if tagging.tags or tagging.guesses:
            return tagging.tags or tagging.guesses
        most_probable = replace(self.selection, top_k=GUESSES)
        return Question.answer(replace(self, selection=most_probable), scores).tags


def _label_map(tag: Tag, local_scores: Array) -> LabelMap:
    if not np.isfinite(local_scores).all():
        raise ModelError("the checkpoint gave maps with values that are not finite", "use another checkpoint")
    lowest, highest = float(local_scores.min()), float(local_scores.max())
    # A map with the same value everywhere is all zeros, because it shows no place.
    stretched = (local_scores - lowest) / ((highest - lowest) or 1.0)
    return LabelMap(
        **tag.model_dump(),
        grid=tuple(tuple(round(float(value), _DIGITS) for value in row) for row in stretched),
        lowest=round(lowest, _DIGITS),
        highest=round(highest, _DIGITS),
    )
