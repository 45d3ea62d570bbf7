"""The table of checkpoints: their states, their handles, and which one is active."""

from contextlib import suppress
from datetime import UTC, datetime
from threading import Condition
from types import TracebackType

from sigrl.service.checkpoints.bundles import Bundle, is_beginning
from sigrl.service.checkpoints.states import Checkpoint
from sigrl.service.errors import CheckpointNotFoundError, CheckpointStateError
from sigrl.service.observability import metrics
from sigrl.service.schemas.checkpoints import GONE, ON_THE_WAY, USABLE, CheckpointInfo, State
from sigrl.service.tagging.tagger import Tagger

_REMEMBERED = 20


class CancelledLoadError(Exception):
    """The checkpoint being loaded is no longer wanted."""


class Handle:
    """Keeps a checkpoint and its encoded labels in memory until it is released."""

    def __init__(self, table: "CheckpointTable", checkpoint: Checkpoint, tagger: Tagger) -> None:
        self._table = table
        self._checkpoint: Checkpoint | None = checkpoint
        self.tagger = tagger
        """The engine, its encoded labels, and its limits."""

    def release(self) -> None:
        """Releases the checkpoint; a second call does nothing."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            del self.tagger
            self._table.give_back(checkpoint)

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.release()


class CheckpointTable:
    """Exactly one checkpoint is active at any time. Thread-safe; only `wait_for_room` and
    `wait_until_settled` block. Methods that take an id raise CheckpointNotFoundError."""

    def __init__(self, first: Checkpoint, limit: int) -> None:
        """`first` is active from the start; at most `limit` checkpoints may be in memory."""
        self._changed = Condition()
        self._limit = limit
        self._checkpoints = {first.id: first}
        self._active = first
        self._previous: Checkpoint | None = None
        with self._changed:
            self._enter(first, State.ACTIVE)
        metrics.CHECKPOINT.labels(first.id).set(1)

    @property
    def active(self) -> Checkpoint:
        """The active checkpoint."""
        return self._active

    @property
    def previous(self) -> Checkpoint | None:
        """The previously active checkpoint; None if it is no longer in memory."""
        return self._previous

    def acquire(self, checkpoint: Checkpoint | None = None) -> Handle | None:
        """A handle on a checkpoint, by default the active one; None if it is not in memory or is draining."""
        with self._changed:
            checkpoint = checkpoint or self._active
            if checkpoint.tagger is None or checkpoint.state is State.DRAINING:
                return None
            checkpoint.handles += 1
            return Handle(self, checkpoint, checkpoint.tagger)

    def acquire_active(self) -> Handle:
        """A handle on the active checkpoint."""
        handle = self.acquire()
        assert handle is not None, "the active checkpoint is always in memory"
        return handle

    def acquire_named(self, checkpoint_id: str) -> Handle:
        """A handle on the checkpoint whose id, or the beginning of whose id, a request names. Raises
        CheckpointStateError if it is not in memory, CheckpointNotFoundError if several ids match."""
        checkpoint = self._named(checkpoint_id)
        handle = None if checkpoint is None else self.acquire(checkpoint)
        if handle is None:
            raise CheckpointStateError(
                f"the checkpoint {checkpoint_id[:80]!a} is not in memory",
                "GET /v1/checkpoints lists those that are; leave out `checkpoint` for the active one",
            )
        return handle

    def give_back(self, checkpoint: Checkpoint) -> None:
        """Counts one handle less; the last release removes a draining checkpoint from memory."""
        with self._changed:
            checkpoint.handles -= 1
            if checkpoint.state is State.DRAINING and not checkpoint.handles:
                self._let_go(checkpoint)

    def get(self, checkpoint_id: str) -> Checkpoint:
        """The checkpoint with that id, or the only one whose id begins with it; `sha256:` may be left out."""
        checkpoint = self._named(checkpoint_id)
        if checkpoint is None:
            raise CheckpointNotFoundError(
                f"there is no checkpoint {checkpoint_id[:80]!a}",
                "GET /v1/checkpoints and `sigrl checkpoint list` show all checkpoints",
            )
        return checkpoint

    def _named(self, text: str) -> Checkpoint | None:
        """Finds a checkpoint by its id or an unambiguous beginning of it; those in memory take precedence."""
        with self._changed:
            known = dict(self._checkpoints)
        if text in known:
            return known[text]
        found = [each for each in known.values() if is_beginning(text, each.id)]
        found = [each for each in found if each.state not in GONE] or found
        if len(found) > 1:
            raise CheckpointNotFoundError(
                f"the ids of {len(found)} checkpoints begin with {text[:80]!a}", "give more of its characters"
            )
        return found[0] if found else None

    def infos(self) -> list[CheckpointInfo]:
        """All known checkpoints, in the order in which they were admitted."""
        with self._changed:
            return [each.info(previous=each is self._previous) for each in self._checkpoints.values()]

    def info(self, checkpoint: Checkpoint) -> CheckpointInfo:
        """The report on one checkpoint."""
        with self._changed:
            return checkpoint.info(previous=checkpoint is self._previous)

    def admit(self, bundle: Bundle) -> tuple[Checkpoint, bool]:
        """(checkpoint of a bundle, whether it still has to be loaded). If memory is full, a formerly active
        checkpoint that no rollback needs is unloaded. Raises CheckpointStateError if there is none."""
        with self._changed:
            known = self._checkpoints.get(bundle.checkpoint_id)
            if known is not None and known.state not in GONE:
                if known.state is State.DRAINING:
                    self._enter(known, State.READY)
                known.cancelled = False
                return known, False
            self._make_room()
            # Removed first, so that it moves to the end of the order.
            self._checkpoints.pop(bundle.checkpoint_id, None)
            checkpoint = Checkpoint(bundle.checkpoint_id, bundle.name)
            self._checkpoints[checkpoint.id] = checkpoint
            self._enter(checkpoint, State.CANDIDATE)
            self._forget_old()
            return checkpoint, True

    def wait_for_room(self, checkpoint: Checkpoint) -> None:
        """Waits until draining checkpoints have left enough room. Raises CancelledLoadError."""
        with self._changed:
            self._changed.wait_for(lambda: checkpoint.cancelled or self._in_memory() < self._limit)
            self._check_wanted(checkpoint)

    def wait_until_settled(self, checkpoint: Checkpoint, seconds: float) -> None:
        """Waits until the checkpoint is no longer being loaded, for at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: checkpoint.state not in ON_THE_WAY, seconds)

    def enter(self, checkpoint: Checkpoint, state: State, why: str | None = None) -> None:
        """Sets a checkpoint's state. Raises CancelledLoadError if its loading was cancelled."""
        with self._changed:
            if state not in GONE:
                self._check_wanted(checkpoint)
            self._enter(checkpoint, state, why)

    def progress(self, checkpoint: Checkpoint, done: int, total: int) -> None:
        """Records how many labels are encoded. Raises CancelledLoadError."""
        with self._changed:
            self._check_wanted(checkpoint)
            checkpoint.done, checkpoint.total = done, total

    def settle(self, checkpoint: Checkpoint, tagger: Tagger, seconds: float) -> None:
        """Records that a checkpoint is loaded and warm. Raises CancelledLoadError."""
        with self._changed:
            self._check_wanted(checkpoint)
            checkpoint.tagger, checkpoint.load_seconds = tagger, seconds
            self._enter(checkpoint, State.READY)

    def check_usable(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointStateError unless the checkpoint can be activated at once."""
        if checkpoint.state not in USABLE:
            why = f", {checkpoint.reason}" if checkpoint.reason else ""
            raise CheckpointStateError(
                f"the checkpoint is {checkpoint.state}{why}",
                "wait until it is ready" if checkpoint.state in ON_THE_WAY else "load its bundle first",
            )

    def flip(self, checkpoint: Checkpoint) -> None:
        """Activates a checkpoint. Raises CheckpointStateError unless that is possible at once."""
        with self._changed:
            self.check_usable(checkpoint)
            old, self._active, self._previous = self._active, checkpoint, self._active
            self._enter(old, State.READY)
            self._enter(checkpoint, State.ACTIVE)
        metrics.CHECKPOINT.remove(old.id)
        metrics.CHECKPOINT.labels(checkpoint.id).set(1)
        metrics.SWAPS.inc()

    def unload(self, checkpoint: Checkpoint) -> None:
        """Removes a checkpoint as soon as it has no handles, or stops loading it. Raises CheckpointStateError
        for the active one."""
        with self._changed:
            if checkpoint.state is State.ACTIVE:
                raise CheckpointStateError("the checkpoint is active", "activate another one first")
            if checkpoint.state in ON_THE_WAY:
                checkpoint.cancelled = True
                self._changed.notify_all()
            elif checkpoint.state in USABLE:
                self._drain(checkpoint)

    def _enter(self, checkpoint: Checkpoint, state: State, why: str | None = None) -> None:
        with suppress(KeyError):
            metrics.CHECKPOINT_STATE.remove(checkpoint.id, checkpoint.state)
        metrics.CHECKPOINT_STATE.labels(checkpoint.id, state).set(1)
        checkpoint.state, checkpoint.reason = state, why
        checkpoint.has_answered = checkpoint.has_answered or state is State.ACTIVE
        checkpoint.since = datetime.now(UTC)
        self._changed.notify_all()

    def _drain(self, checkpoint: Checkpoint) -> None:
        if checkpoint is self._previous:
            self._previous = None
        self._enter(checkpoint, State.DRAINING)
        if not checkpoint.handles:
            self._let_go(checkpoint)

    def _let_go(self, checkpoint: Checkpoint) -> None:
        checkpoint.tagger = checkpoint.drift = None
        self._enter(checkpoint, State.RETIRED)

    def _in_memory(self) -> int:
        return sum(each.tagger is not None for each in self._checkpoints.values())

    def _check_wanted(self, checkpoint: Checkpoint) -> None:
        if checkpoint.cancelled:
            self._enter(checkpoint, State.RETIRED)
            raise CancelledLoadError

    def _make_room(self) -> None:
        outgoing = GONE | {State.DRAINING}
        kept = [
            each for each in self._checkpoints.values() if each.state not in outgoing and not each.cancelled
        ]
        if len(kept) < self._limit:
            return
        spare = [
            each
            for each in kept
            if each.has_answered and each.state is State.READY and each is not self._previous
        ]
        if not spare:
            raise CheckpointStateError(
                f"{len(kept)} checkpoints are in memory, which is the limit",
                "unload one of them, or raise SIGRL_CHECKPOINTS_IN_MEMORY",
            )
        self._drain(min(spare, key=lambda each: each.since))

    def _forget_old(self) -> None:
        gone = [each for each in self._checkpoints.values() if each.state in GONE]
        for checkpoint in gone[:-_REMEMBERED]:
            del self._checkpoints[checkpoint.id]
            with suppress(KeyError):
                metrics.CHECKPOINT_STATE.remove(checkpoint.id, checkpoint.state)
