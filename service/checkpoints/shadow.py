"""A candidate tags what the active checkpoint has tagged, and nobody sees it but the report."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Semaphore
from typing import Protocol

from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.drift import Drift
from sigrl.service.observability import metrics
from sigrl.service.tagging.scoring import BatchItem, Question, ScoredImage
from sigrl.service.tagging.tagger import Tagger

_logger = logging.getLogger("sigrl")


class Handle(Protocol):
    """A checkpoint that stays in memory until it is given back."""

    @property
    def tagger(self) -> Tagger:
        """The checkpoint."""
        ...

    def release(self) -> None:
        """Gives it back."""
        ...


@dataclass(frozen=True)
class Shadow:
    """A comparison that is going on."""

    acquire: Callable[[], Handle | None]
    """A handle on the candidate; None when it has been let go."""
    share: float
    """Of the photographs, 0 to 1."""
    drift: Drift


class Shadower:
    """Compares in a thread of its own, one photograph at a time: a candidate that is slow, hangs or fails
    holds up nobody. What comes while it is at work is passed over, so that it never queues."""

    def __init__(self) -> None:
        self._threads = RequestThreads(1, "sigrl-shadow")
        self._free = Semaphore(1)

    def offer(
        self, shadow: Shadow, photograph: bytes, questions: Sequence[Question], scored: ScoredImage
    ) -> None:
        """Compares on a photograph that the active checkpoint has tagged, if it is drawn by lot and there is
        time; never waits and never fails."""
        if random.random() >= shadow.share or not self._free.acquire(blocking=False):
            return
        handle = shadow.acquire()
        if handle is None:
            self._free.release()
            return

        def done(_: object) -> None:
            handle.release()
            self._free.release()

        compared = self._threads.submit(_compare, handle, shadow.drift, photograph, questions, scored)
        compared.add_done_callback(done)

    def close(self) -> None:
        """Takes nothing more."""
        self._threads.close()


def _compare(
    handle: Handle, drift: Drift, photograph: bytes, questions: Sequence[Question], scored: ScoredImage
) -> None:
    try:
        asked, answered = tag_as(handle.tagger, photograph, questions)
        drift.add((questions, scored), (asked, answered))
        metrics.SHADOW_IMAGES.labels("compared").inc()
    except Exception:
        drift.fail()
        metrics.SHADOW_IMAGES.labels("failed").inc()
        _logger.warning("the shadowing checkpoint failed on a photograph", exc_info=True)


def tag_as(
    tagger: Tagger, photograph: bytes, questions: Sequence[Question]
) -> tuple[tuple[Question, ...], ScoredImage]:
    """What another checkpoint says to the same questions. Raises what the model raises."""
    values = tagger.pixel_values(photograph)
    asked = tuple(
        Question(tagger.engine, each.vocabulary, tagger.label_features(each.vocabulary), each.selection)
        for each in questions
    )
    (outcome,) = tagger.score([BatchItem(values, asked)])
    if isinstance(outcome, Exception):
        raise outcome
    return asked, outcome
