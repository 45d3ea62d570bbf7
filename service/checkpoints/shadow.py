"""Shadow mode: a candidate tags the same photographs as the active checkpoint, only for the drift report."""

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
    """Keeps a checkpoint in memory until it is released."""

    @property
    def tagger(self) -> Tagger:
        """The checkpoint's tagger."""
        ...

    def release(self) -> None:
        """Releases the checkpoint."""
        ...


@dataclass(frozen=True)
class Shadow:
    """A running comparison."""

    acquire: Callable[[], Handle | None]
    """Returns a handle on the candidate; None if it is no longer in memory."""
    share: float
    """Share of the photographs to compare, 0 to 1."""
    drift: Drift


class Shadower:
    """Compares one photograph at a time in a thread of its own, so that a candidate that is slow, hangs or
    fails delays nobody. It has no queue: photographs that arrive while it is busy are skipped."""

    def __init__(self) -> None:
        self._threads = RequestThreads(1, "sigrl-shadow")
        self._free = Semaphore(1)

    def offer(
        self, shadow: Shadow, photograph: bytes, questions: Sequence[Question], scored: ScoredImage
    ) -> None:
        """Compares a random share of the photographs that the active checkpoint has tagged, if the thread is
        free. Never waits and never fails."""
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
        """Accepts no further photographs."""
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
        _logger.warning("the shadow checkpoint failed on a photograph", exc_info=True)


def tag_as(
    tagger: Tagger, photograph: bytes, questions: Sequence[Question]
) -> tuple[tuple[Question, ...], ScoredImage]:
    """Tags a photograph with another checkpoint: (its own form of the questions, scores). Raises what the
    model raises."""
    values = tagger.tower.pixel_values(photograph)
    asked = tuple(tagger.question(each.vocabulary, each.selection) for each in questions)
    (outcome,) = tagger.tower.score([BatchItem(values, asked)])
    if isinstance(outcome, Exception):
        raise outcome
    return asked, outcome
