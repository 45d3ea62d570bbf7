"""Weighs photographs that could be labelled, in the same batches as tagging. Independent of HTTP."""

import numpy as np

from sigrl.service.serving.embedding import Embed, Embedded
from sigrl.service.tagging.scoring import Scores
from sigrl.service.vocabularies.suggesting import doubt

_LIKELY = 30
_DIGITS = 6


class Weighed(Embedded):
    """A photograph's embedding, and how much could be learned from labelling it."""

    doubt: float
    """See `sigrl.service.vocabularies.suggesting.doubt`."""
    likely: tuple[str, ...]
    """The most probable labels, in order of decreasing probability."""


class Weigh(Embed):
    """A question that also asks how uncertain the labels of a photograph are."""

    def answer(self, scores: Scores) -> Weighed:
        """The embedding, the doubt and the most probable labels of one photograph."""
        probabilities, _ = self.verdicts(scores)
        names = self.vocabulary.names
        likely = tuple(names[row] for row in np.argsort(-probabilities, kind="stable")[:_LIKELY])
        return Weighed(
            **dict(super().answer(scores)), doubt=round(doubt(probabilities), _DIGITS), likely=likely
        )
