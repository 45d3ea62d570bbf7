"""A request's photographs, on their way and at their end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sigrl.service.schemas.tagging import LabelWarning, Tagging, VocabularyInfo
from sigrl.service.tagging.scoring import Question


@dataclass(frozen=True)
class Seconds:
    """Where the time of one photograph went."""

    decode: float = 0.0
    """Bytes to pixel values."""
    queue: float = 0.0
    """Waiting: for a thread that decodes, and for the model."""
    model: float = 0.0
    """The image tower, of the whole batch; so is the next."""
    score: float = 0.0
    """Head and probabilities."""


@dataclass(frozen=True)
class ImageResult:
    """One photograph's end."""

    number: int
    """Its place in the request, from 0."""
    outcome: tuple[Tagging, ...] | Exception
    """One tagging per vocabulary; or why there is none, which does not concern the others."""
    seconds: Seconds = Seconds()


class TaggingStream:
    """A request's photographs on their way."""

    def __init__(
        self,
        checkpoint: str,
        vocabularies: tuple[VocabularyInfo, ...],
        questions: Sequence[Question],
        refused: list[ImageResult],
        tasks: list[asyncio.Task[ImageResult]],
    ) -> None:
        self.checkpoint = checkpoint
        """Id of the checkpoint that answers all of it."""
        self.vocabularies = vocabularies
        """What is looked for, in the order of the request."""
        self._questions, self._refused, self._tasks = questions, refused, tasks

    def warnings(self) -> tuple[tuple[LabelWarning, ...], ...]:
        """Of each vocabulary's labels; none where all photographs were refused and no label was looked at.
        The first time it may take a while."""
        if not self._questions:
            return ((),) * len(self.vocabularies)
        return tuple(question.warnings for question in self._questions)

    async def as_finished(self) -> AsyncIterator[ImageResult]:
        """Each photograph as it finishes, in whatever order."""
        for finished in self._refused:
            yield finished
        for task in asyncio.as_completed(self._tasks):
            yield await task

    async def in_order(self) -> list[ImageResult]:
        """All of them."""
        return sorted([each async for each in self.as_finished()], key=lambda finished: finished.number)
