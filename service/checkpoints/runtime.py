"""The checkpoints of one process, and which of them is active.

A request keeps one handle from its beginning to its end, and everything that it uses belongs to the handle's
tagger, so no answer mixes two checkpoints. Activation changes one reference; running requests finish with the
checkpoint they began with. The replaced checkpoint stays in memory for a rollback until it is unloaded, and
is freed with its last handle.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.activations import Activation, History, Unwritten, find_bundle
from sigrl.service.checkpoints.bundles import Bundle, BundleStore, configured
from sigrl.service.checkpoints.drift import Drift
from sigrl.service.checkpoints.loading import Loader, load_tagger
from sigrl.service.checkpoints.shadowing import Shadowing
from sigrl.service.checkpoints.states import Checkpoint
from sigrl.service.checkpoints.table import CheckpointTable, Handle
from sigrl.service.errors import CheckpointStateError, DriftError
from sigrl.service.observability import metrics
from sigrl.service.schemas.checkpoints import USABLE, CheckpointInfo, State
from sigrl.service.schemas.drift import DriftReport
from sigrl.service.settings import Settings
from sigrl.service.tagging.scoring import Question, ScoredImage
from sigrl.service.tagging.tagger import Tagger

_logger = logging.getLogger("sigrl")


class Runtime:
    """Loads, compares, activates and unloads checkpoints. Thread-safe. Only `activate` and `rollback` block:
    both wait for the database, and `rollback` may also wait for a bundle to load. `acquire` never blocks.
    Methods that take an id raise CheckpointNotFoundError."""

    def __init__(
        self,
        first: Tagger,
        settings: Settings,
        *,
        bundle: str | None = None,
        bundles: BundleStore | None = None,
        load: Callable[[Path], Tagger] | None = None,
        history: History | None = None,
        generation: int = 0,
        problem: str | None = None,
        registered: Callable[[], Iterable[Vocabulary]] = tuple,
        calibration_error: Callable[[Tagger], float | None] = lambda _: None,
    ) -> None:
        """Defaults come from the settings. Without `history`, activations are kept in memory only.

        Args:
            first: the tagger that is active from the start.
            settings: the limits.
            bundle: the bundle of `first`; see `Bundle.name`.
            bundles: the bundles that can be loaded.
            load: makes a tagger from a bundle's folder; may raise any exception.
            history: records activations.
            generation: the generation of the activation of `first`; 0 if there is none.
            problem: why `first` is not the checkpoint that was activated last.
            registered: the vocabularies that a checkpoint must encode before it is ready.
            calibration_error: computes a checkpoint's calibration error on their examples.
        """
        self.settings = settings
        self.bundles = bundles or BundleStore.of(settings)
        self.generation, self.problem = generation, problem
        self.table = CheckpointTable(
            Checkpoint(first.engine.checkpoint_id, bundle, tagger=first), settings.checkpoints_in_memory
        )
        self._history = history or Unwritten()
        self._threads = RequestThreads(1, "sigrl-loader")
        load = load or partial(load_tagger, settings)
        self._loader = Loader(self.table, settings, load, registered, self._threads)
        self._shadowing = Shadowing(self.table, calibration_error, self._threads)
        # Held while the active checkpoint changes and is recorded. Taking a handle does not need this lock.
        self._changing = Lock()
        metrics.GENERATION.set(generation)

    def acquire(self, checkpoint_id: str | None = None) -> Handle:
        """A handle on the active checkpoint, or on the named one as `CheckpointTable.acquire_named` finds it.
        The caller must release it."""
        return self.table.acquire_named(checkpoint_id) if checkpoint_id else self.table.acquire_active()

    def note(self, vocabularies: Sequence[Vocabulary]) -> None:
        """Records that requests used these vocabularies, so that a new checkpoint encodes them before it is
        ready."""
        self._loader.note(vocabularies)

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Starts to encode a vocabulary for all checkpoints in memory, before a request needs it. Does not
        block."""
        self._loader.prepare(vocabulary)

    def offer(self, photograph: bytes, questions: Sequence[Question], scored: ScoredImage) -> None:
        """Passes an answered photograph to the shadow, if there is one. Never blocks and never fails."""
        self._shadowing.offer(photograph, questions, scored)

    def load(self, bundle: str) -> CheckpointInfo:
        """Starts to load a bundle, and returns the state of its checkpoint. A checkpoint that is in memory is
        not loaded again.

        Raises CheckpointStateError if too many checkpoints are in memory, and what `BundleStore.find` raises.
        """
        return self.table.info(self._admit(self.bundles.find(bundle)))

    def newest_activation(self) -> Activation | None:
        """The newest activation by any replica. Raises StoreError."""
        return self._history.last()

    def forget_generation(self, generation: int, newest: Activation | None) -> bool:
        """Resets this process's generation to 0 if the database no longer has it, and returns whether that
        happened. `newest` is the database's newest activation, and must be read after `generation`. After the
        reset, the next activation counts as newer even if its number is lower."""
        with self._changing:
            same = newest is not None and newest.checkpoint == self.table.active.id
            last = 0 if newest is None else newest.generation
            if self.generation != generation or last > generation or (last == generation and same):
                return False
            self.generation = 0
        return generation > 0

    def follow(self, newest: Activation) -> State:
        """Takes one step towards another replica's activation: loads the checkpoint, or activates it if it is
        ready. Returns the checkpoint's state. Raises as `load` does."""
        checkpoint = self._admit(find_bundle(newest, self.bundles))
        with self._changing:
            if newest.generation > self.generation and checkpoint.state in {State.ACTIVE, *USABLE}:
                self._take_over(checkpoint, newest.generation)
            return checkpoint.state

    def activate(self, checkpoint_id: str, *, force: bool = False) -> CheckpointInfo:
        """Activates a checkpoint; does nothing if it is already active.

        Raises CheckpointStateError if it is not ready, DriftError if it exceeds the settings' drift limits
        and `force` is not set, and StoreError. Nothing changes if an error is raised.
        """
        checkpoint = self.table.get(checkpoint_id)
        with self._changing:
            if checkpoint is not self.table.active:
                self.table.check_usable(checkpoint)
                if not force:
                    self._check_drift(checkpoint)
                self._make_active(checkpoint)
        return self.table.info(checkpoint)

    def rollback(self) -> CheckpointInfo:
        """Activates the previously active checkpoint. If it is not in memory, for example after a restart,
        its bundle is loaded first, which takes as long as `load`, at most `Settings.request_seconds`.

        Raises CheckpointStateError if there is no such checkpoint or it is not ready in time, what
        `BundleStore.find` raises, and StoreError.
        """
        checkpoint = self.table.previous or self._load_previous()
        with self._changing:
            self._make_active(checkpoint)
        return self.table.info(checkpoint)

    def unload(self, checkpoint_id: str) -> CheckpointInfo:
        """Removes a checkpoint from memory as soon as its requests are answered. Raises CheckpointStateError
        for the active checkpoint."""
        checkpoint = self.table.get(checkpoint_id)
        with self._changing:
            if checkpoint is self._shadowing.checkpoint:
                self._shadowing.end()
            self.table.unload(checkpoint)
        return self.table.info(checkpoint)

    def shadow(self, checkpoint_id: str, share: float | None = None) -> CheckpointInfo:
        """Makes a checkpoint the shadow, which also tags a share of the photographs, by default the share in
        the settings. Its counts restart; a share of 0 ends the shadow. A previous shadow becomes ready again.
        Raises CheckpointStateError if the checkpoint is not ready."""
        checkpoint = self.table.get(checkpoint_id)
        share = self.settings.shadow_share if share is None else share
        with self._changing:
            self.table.check_usable(checkpoint)
            if share:
                self._shadowing.begin(checkpoint, share)
            else:
                self._shadowing.end()
        return self.table.info(checkpoint)

    def drift(self, checkpoint_id: str) -> DriftReport:
        """How the checkpoint's tags differed from those of the active one while it was the shadow."""
        checkpoint = self.table.get(checkpoint_id)
        return (checkpoint.drift or Drift()).report(checkpoint.id, self.settings)

    def close(self) -> None:
        """Ends the background work; a checkpoint that is being loaded stops at its next step."""
        for info in self.table.infos():
            if info.state is not State.ACTIVE:
                self.table.unload(self.table.get(info.id))
        self._shadowing.close()
        self._threads.close()

    def _load_previous(self) -> Checkpoint:
        previous = self._history.before(self.table.active.id)
        if previous is None:
            raise CheckpointStateError(
                "there is no checkpoint that was active before this one", "load a bundle and activate it"
            )
        checkpoint = self._admit(find_bundle(previous, self.bundles))
        self.table.wait_until_settled(checkpoint, self.settings.request_seconds * 0.9)
        self.table.check_usable(checkpoint)
        return checkpoint

    def _admit(self, found: Bundle) -> Checkpoint:
        """The checkpoint of a bundle, which is loaded in the background unless it is in memory."""
        # The checkpoint that is unloaded to make room must not be the one that is being activated.
        with self._changing:
            checkpoint, is_new = self.table.admit(found)
        if is_new:
            self._loader.start(checkpoint, found)
        return checkpoint

    def _check_drift(self, checkpoint: Checkpoint) -> None:
        report = (checkpoint.drift or Drift()).report(checkpoint.id, self.settings)
        if report.exceeded:
            raise DriftError(
                "; ".join(report.exceeded),
                "keep it as a shadow for longer, or activate it with `force`",
                report.model_dump(mode="json"),
            )

    def _make_active(self, checkpoint: Checkpoint) -> None:
        generation = self._history.record(
            checkpoint.id, checkpoint.bundle, configured(self.settings), by_settings=False
        )
        self._take_over(checkpoint, generation)

    def _take_over(self, checkpoint: Checkpoint, generation: int) -> None:
        if checkpoint is not self.table.active:
            self.table.flip(checkpoint)
        self.generation, self.problem = generation, None
        metrics.GENERATION.set(generation)
        _logger.info("the checkpoint %s is active, generation %d", checkpoint.id, generation)
        self._shadowing.restart()
