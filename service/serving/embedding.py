"""Embeds photographs in the same batches as tagging. Independent of HTTP."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sigrl.model.engine import ImageFeatures
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.tagging.scoring import Question, Scores

_DIGITS = 6


class Embedded(Tagging):
    """A photograph's tags and its embedding."""

    embedding: tuple[float, ...]
    """A unit vector."""


class Embed(Question):
    """A question that also asks for the photograph's embedding."""

    def look_closer(self, scores: Scores, features_of_one: Callable[[], ImageFeatures]) -> Scores:
        """Adds the embedding, [D]."""
        return replace(scores, closer=self.engine.image_embeddings(features_of_one())[0])

    def answer(self, scores: Scores) -> Embedded:
        """The tags and the embedding of one photograph."""
        if not isinstance(scores.closer, np.ndarray):
            raise ValueError("the scores contain no embedding: they belong to another question")
        return Embedded(**dict(super().answer(scores)), embedding=rounded(scores.closer.tolist()))


def rounded(embedding: list[float]) -> tuple[float, ...]:
    """Rounds an embedding for the response."""
    return tuple(round(value, _DIGITS) for value in embedding)
