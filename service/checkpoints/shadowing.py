"""Decides which checkpoint is the shadow, and begins and ends its comparison with the active one."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.drift import Drift
from sigrl.service.checkpoints.shadow import Shadow, Shadower
from sigrl.service.checkpoints.states import Checkpoint
from sigrl.service.checkpoints.table import CheckpointTable
from sigrl.service.errors import TaggerError
from sigrl.service.schemas.checkpoints import State
from sigrl.service.tagging.scoring import Question, ScoredImage
from sigrl.service.tagging.tagger import Tagger

_logger = logging.getLogger("sigrl")


class Shadowing:
    """At most one checkpoint is the shadow. `offer` is thread-safe; the caller must serialise all else."""

    def __init__(
        self,
        table: CheckpointTable,
        calibration_error: Callable[[Tagger], float | None],
        threads: RequestThreads,
    ) -> None:
        """See `Runtime`. `threads`: computes calibration errors, because there may be many examples."""
        self._table, self._calibration_error, self._threads = table, calibration_error, threads
        self._shadower = Shadower()
        self._shadow: Shadow | None = None
        self.checkpoint: Checkpoint | None = None
        """The shadow, or None."""

    def offer(self, photograph: bytes, questions: Sequence[Question], scored: ScoredImage) -> None:
        """See `Runtime.offer`."""
        shadow = self._shadow
        if shadow is not None and questions[0].engine.checkpoint_id == self._table.active.id:
            self._shadower.offer(shadow, photograph, questions, scored)

    def begin(self, checkpoint: Checkpoint, share: float) -> None:
        """Compares a share of the photographs, 0 to 1, from now on. All counts start at 0."""
        self.end()
        checkpoint.drift = Drift()
        self._table.enter(checkpoint, State.SHADOW)
        self.checkpoint = checkpoint
        self._shadow = Shadow(partial(self._table.acquire, checkpoint), share, checkpoint.drift)
        self._threads.submit(self._measure, checkpoint, checkpoint.drift)

    def restart(self) -> None:
        """Compares the shadow with the newly active checkpoint, unless that is the shadow itself."""
        checkpoint, shadow = self.checkpoint, self._shadow
        if checkpoint is None or shadow is None:
            return
        self.end()
        if checkpoint is not self._table.active:
            self.begin(checkpoint, shadow.share)

    def end(self) -> None:
        """Ends the comparison, if there is one."""
        checkpoint, self.checkpoint, self._shadow = self.checkpoint, None, None
        if checkpoint is not None and checkpoint.state is State.SHADOW:
            self._table.enter(checkpoint, State.READY)

    def close(self) -> None:
        """Accepts no further photographs."""
        self._shadow = None
        self._shadower.close()

    def _measure(self, checkpoint: Checkpoint, drift: Drift) -> None:
        """Computes the calibration errors of the active checkpoint and of the shadow."""
        errors: list[float | None] = []
        for each in (self._table.active, checkpoint):
            handle = self._table.acquire(each)
            if handle is None:
                return
            with handle:
                try:
                    errors.append(self._calibration_error(handle.tagger))
                except TaggerError as error:
                    _logger.warning("the calibration error of %s is not known: %s", each.id, error)
                    errors.append(None)
        drift.note_errors(*errors)
