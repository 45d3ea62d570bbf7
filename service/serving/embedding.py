"""Photographs as vectors, with no HTTP in it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sigrl.model.engine import ImageFeatures
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.tagging.scoring import Question, Scores

_DIGITS = 6


class Embedded(Tagging):
    """A photograph's tags, and its embedding."""

    embedding: tuple[float, ...]
    """Of length 1."""


class Embed(Question):
    """Asks for the photograph's embedding, whatever the labels."""

    def look_closer(self, scores: Scores, features_of_one: Callable[[], ImageFeatures]) -> Scores:
        """With the embedding, [D]."""
        return replace(scores, closer=self.engine.image_embeddings(features_of_one())[0])

    def answer(self, scores: Scores) -> Embedded:
        """The embedding of one photograph."""
        if not isinstance(scores.closer, np.ndarray):
            raise ValueError("the scores hold no embedding: they are from another question")
        return Embedded(**dict(super().answer(scores)), embedding=rounded(scores.closer.tolist()))


def rounded(embedding: list[float]) -> tuple[float, ...]:
    """As it is answered."""
    return tuple(round(value, _DIGITS) for value in embedding)
