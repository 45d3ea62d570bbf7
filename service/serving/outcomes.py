"""The results of a request's photographs, as they arrive."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from anyio import to_thread

from sigrl.service.errors import ImageError
from sigrl.service.observability import metrics
from sigrl.service.schemas.tagging import LabelWarning, Tagging, VocabularyUsed
from sigrl.service.tagging.scoring import Question, ScoredImage


@dataclass(frozen=True)
class Seconds:
    """How long each step of one photograph took, in seconds."""

    decode: float = 0.0
    """From bytes to pixel values."""
    queue: float = 0.0
    """Waiting for a decoding thread and for the model."""
    model: float = 0.0
    """The image tower, for the whole batch."""
    score: float = 0.0
    """The head and the probabilities, for the whole batch."""


@dataclass(frozen=True)
class ImageResult:
    """The result of one photograph."""

    number: int
    """Its position in the request, from 0."""
    outcome: tuple[Tagging, ...] | Exception
    """One tagging per vocabulary, or the error of this photograph alone."""
    seconds: Seconds = Seconds()


def finished(
    number: int, outcome: tuple[Tagging, ...] | Exception, seconds: Seconds | None = None
) -> ImageResult:
    """The result of the photograph at position `number`, which is counted in the metrics."""
    if isinstance(outcome, ImageError):
        metrics.IMAGES_REFUSED.labels(outcome.code).inc()
    elif not isinstance(outcome, Exception):
        metrics.IMAGES_TAGGED.inc()
    return ImageResult(number, outcome, seconds or Seconds())


async def answers(questions: Sequence[Question], scored: ScoredImage) -> tuple[Tagging, ...]:
    """The answers to all questions about one photograph, computed in a thread if they may take a while."""
    if all(question.is_quick for question in questions):
        return _answers(questions, scored)
    return await to_thread.run_sync(_answers, questions, scored, abandon_on_cancel=True)


def _answers(questions: Sequence[Question], scored: ScoredImage) -> tuple[Tagging, ...]:
    return tuple(question.answer(scores) for question, scores in zip(questions, scored.scores, strict=True))


class TaggingStream:
    """The results of a request's photographs, available one by one."""

    def __init__(
        self,
        checkpoint: str,
        vocabularies: tuple[VocabularyUsed, ...],
        questions: Sequence[Question],
        refused: list[ImageResult],
        tasks: list[asyncio.Task[ImageResult]],
    ) -> None:
        self.checkpoint = checkpoint
        """Id of the checkpoint for the whole request."""
        self.vocabularies = vocabularies
        """The vocabularies, in the order of the request."""
        self._questions, self._refused, self._tasks = questions, refused, tasks

    def warnings(self) -> tuple[tuple[LabelWarning, ...], ...]:
        """The warnings about each vocabulary's labels; none if all photographs were refused, because then no
        label is encoded. The first call may take a while."""
        if not self._questions:
            return ((),) * len(self.vocabularies)
        return tuple(question.warnings for question in self._questions)

    async def as_finished(self) -> AsyncIterator[ImageResult]:
        """Yields each result as soon as it is there, in any order."""
        for result in self._refused:
            yield result
        for task in asyncio.as_completed(self._tasks):
            yield await task

    async def in_order(self) -> list[ImageResult]:
        """Waits for all results and returns them in the order of the request."""
        tagged = await asyncio.gather(*self._tasks)
        return sorted([*self._refused, *tagged], key=lambda result: result.number)
