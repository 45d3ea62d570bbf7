"""What is activated on one replica is activated on all: each looks for the newest activation, and follows."""

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
"""How often a replica says that it is there, where nothing changes."""
RETRY_SECONDS = 60.0
"""When what could not be loaded is tried again."""

_logger = logging.getLogger("sigrl")


class Follower:
    """Looks at the database every so often, in a thread of its own. While that does not answer, everything
    stays as it is. What settings activate is not followed: each replica has its own."""

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
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more, and says so."""
        self._stop.set()
        self._thread.join()
        try:
            self._replicas.leave()
        except StoreError:
            # Others find out by its silence.
            return

    def look(self) -> None:
        """Once: a step on towards the newest activation, and a word to the others. Raises StoreError."""
        before = self._runtime.generation
        newest = self._runtime.newest_activation()
        if self._runtime.forget_generation(before, newest):
            _logger.warning("the database was restored: generation %d is not in it", before)
        if newest is not None and self._concerns(newest):
            self._step(newest)
        said = self._runtime.generation, self._runtime.table.active.id, self._runtime.problem
        if said != self._told or time.monotonic() - self._told_at >= TELL_SECONDS:
            self._replicas.tell(*said)
            self._told, self._told_at = said, time.monotonic()

    def _concerns(self, newest: Activation) -> bool:
        if newest.generation <= self._runtime.generation:
            return False
        # Replicas that begin together each write down what their settings say.
        return not newest.by_settings or newest.checkpoint == self._runtime.table.active.id

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._answers = True
            except StoreError as error:
                if self._answers:
                    _logger.warning("activations of other replicas are not seen: %s", error.detail)
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
            # There may be room later.
            self._runtime.problem = f"generation {newest.generation} waits: {error.detail}"
        except TaggerError as error:
            self._give_up(newest, reason(error))
        else:
            if state in (State.FAILED, State.RETIRED):
                checkpoint = self._runtime.table.get(newest.checkpoint)
                self._give_up(newest, checkpoint.reason or "it was unloaded")
            elif state in ON_THE_WAY and self._runtime.problem is None:
                # What the process said at its start is worth more.
                self._runtime.problem = f"generation {newest.generation} is being loaded"

    def _give_up(self, newest: Activation, why: str) -> None:
        self._failed = newest.generation, time.monotonic()
        self._runtime.problem = f"generation {newest.generation} cannot be followed: {why}"
        _logger.warning("%s; what is active goes on", self._runtime.problem)
