"""Activates on all replicas what was activated on one: each replica looks for the newest activation and
follows it."""

import logging
import time
from threading import Event, Thread

from sigrl.service.checkpoints.activations import Activation
from sigrl.service.checkpoints.replicas import Replicas
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.checkpoints.warming import reason
from sigrl.service.errors import CheckpointStateError, StoreError, TaggerError
from sigrl.service.schemas.checkpoints import ON_THE_WAY, State

TELL_SECONDS = 5.0
"""How often a replica reports that it is running if nothing changes."""
RETRY_SECONDS = 60.0
"""A checkpoint that could not be loaded is tried again after this time."""

_logger = logging.getLogger("sigrl")


class Follower:
    """Polls the database in a thread of its own. While the database does not answer, nothing changes.
    A replica does not follow activations by another replica's settings, because it has its own settings."""

    def __init__(self, runtime: Runtime, replicas: Replicas) -> None:
        self._runtime, self._replicas = runtime, replicas
        self._seconds = runtime.settings.replica_seconds
        self._stop = Event()
        self._thread = Thread(target=self._follow, name="sigrl-follower", daemon=True)
        self._failed: tuple[int, float] = (0, 0.0)
        self._told: tuple[object, ...] = ()
        self._told_at = -TELL_SECONDS
        self._answers = True

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread, and removes this replica from the table of replicas."""
        self._stop.set()
        self._thread.join()
        try:
            self._replicas.leave()
        except StoreError:
            # Other replicas notice when it no longer reports.
            return

    def look(self) -> None:
        """Takes a step towards the newest activation, and reports this replica's state. Raises StoreError."""
        before = self._runtime.generation
        newest = self._runtime.newest_activation()
        if self._runtime.forget_generation(before, newest):
            _logger.warning("the database was restored and does not contain generation %d", before)
        if newest is not None and self._concerns(newest):
            self._step(newest)
        said = self._runtime.generation, self._runtime.table.active.id, self._runtime.problem
        if said != self._told or time.monotonic() - self._told_at >= TELL_SECONDS:
            self._replicas.tell(*said)
            self._told, self._told_at = said, time.monotonic()

    def _concerns(self, newest: Activation) -> bool:
        if newest.generation <= self._runtime.generation:
            return False
        # Replicas that start together each record the checkpoint of their own settings.
        return not newest.by_settings or newest.checkpoint == self._runtime.table.active.id

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._answers = True
            except StoreError as error:
                if self._answers:
                    _logger.warning("activations of other replicas cannot be read: %s", error.detail)
                self._answers = False
            except Exception:
                _logger.exception("the newest activation could not be followed")
            self._stop.wait(self._seconds)

    def _step(self, newest: Activation) -> None:
        generation, failed_at = self._failed
        if newest.generation == generation and time.monotonic() - failed_at < RETRY_SECONDS:
            return
        try:
            state = self._runtime.follow(newest)
        except CheckpointStateError as error:
            # Memory may have room for it later.
            self._runtime.problem = f"generation {newest.generation} waits: {error.detail}"
        except TaggerError as error:
            self._give_up(newest, reason(error))
        else:
            if state in (State.FAILED, State.RETIRED):
                checkpoint = self._runtime.table.get(newest.checkpoint)
                self._give_up(newest, checkpoint.reason or "it was unloaded")
            elif state in ON_THE_WAY and self._runtime.problem is None:
                # A problem from the start of the process is more important.
                self._runtime.problem = f"generation {newest.generation} is being loaded"

    def _give_up(self, newest: Activation, why: str) -> None:
        self._failed = newest.generation, time.monotonic()
        self._runtime.problem = f"generation {newest.generation} cannot be followed: {why}"
        _logger.warning("%s; the active checkpoint stays active", self._runtime.problem)
