"""The checkpoints of one process, and which of them answers.

A request keeps one handle from its beginning to its end, and everything that it uses belongs to the handle's
tagger, so no answer mixes two checkpoints. Activation changes one reference; requests that have begun finish
with the checkpoint they began with. The replaced checkpoint stays in memory for a rollback until it is
unloaded, and is freed with its last handle.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Lock

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.activations import Activation, History, Unwritten, find_bundle
from sigrl.service.checkpoints.bundles import Bundle, BundleStore, configured
from sigrl.service.checkpoints.drift import Drift
from sigrl.service.checkpoints.recent import RecentVocabularies
from sigrl.service.checkpoints.shadow import Shadow, Shadower
from sigrl.service.checkpoints.states import Checkpoint
from sigrl.service.checkpoints.table import CancelledLoadError, CheckpointTable, Handle
from sigrl.service.checkpoints.warming import encode_ahead, largest_batch, reason, warm_up
from sigrl.service.errors import CheckpointStateError, DriftError, TaggerError, UnusableBundleError
from sigrl.service.observability import metrics
from sigrl.service.schemas.checkpoints import USABLE, CheckpointInfo, State
from sigrl.service.schemas.drift import DriftReport
from sigrl.service.settings import Settings
from sigrl.service.tagging.scoring import Question, ScoredImage
from sigrl.service.tagging.tagger import CalibrateLabels, Tagger

_logger = logging.getLogger("sigrl")


class Runtime:
    """Loads, compares, activates and lets go. Safe for threads; only `activate` and `rollback` wait, for the
    database, and `rollback` for a bundle that must be loaded. `acquire` never waits. Methods that take an id
    raise CheckpointNotFoundError."""

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
        """What is not given comes from the settings, and is written down nowhere.

        Args:
            first: active from the start.
            settings: limits.
            bundle: where `first` comes from; see `Bundle.name`.
            bundles: what can be loaded.
            load: makes a tagger of a bundle's folder; raises what it likes.
            history: where activations are written down.
            generation: of the activation by which `first` answers; 0 for none.
            problem: why `first` is not what was activated last.
            registered: vocabularies that a checkpoint must know before it answers.
            calibration_error: of a checkpoint on the examples of these.
        """
        self.settings = settings
        self.bundles = bundles or BundleStore.of(settings)
        self.generation, self.problem = generation, problem
        self.table = CheckpointTable(
            Checkpoint(first.engine.checkpoint_id, bundle, tagger=first), settings.checkpoints_in_memory
        )
        self._load_tagger = load or partial(load_tagger, settings)
        self._history = history or Unwritten()
        self._registered, self._calibration_error = registered, calibration_error
        self._recent = RecentVocabularies()
        self._loader = RequestThreads(1, "sigrl-loader")
        self._shadower = Shadower()
        self._shadow: Shadow | None = None
        self._shadowing: Checkpoint | None = None
        # Held while the active checkpoint changes and is written down, but not by those who take handles.
        self._changing = Lock()
        metrics.GENERATION.set(generation)

    def acquire(self, checkpoint_id: str | None = None) -> Handle:
        """The checkpoint that answers, or as `CheckpointTable.acquire_named`; to be given back."""
        return self.table.acquire_named(checkpoint_id) if checkpoint_id else self.table.acquire_active()

    def note(self, vocabularies: Sequence[Vocabulary]) -> None:
        """They were asked for, so the next checkpoint should know them before it answers."""
        self._recent.note(vocabularies)

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Lets all checkpoints in memory know a vocabulary before they are asked for it; does not wait."""
        for info in self.table.infos():
            handle = self.table.acquire(self.table.get(info.id))
            if handle is not None:
                self._loader.submit(encode_ahead, handle, vocabulary)

    def offer(self, photograph: bytes, questions: Sequence[Question], scored: ScoredImage) -> None:
        """Shows the shadow, if there is one, what was answered; never waits and never fails."""
        shadow = self._shadow
        if shadow is not None and questions[0].engine.checkpoint_id == self.table.active.id:
            self._shadower.offer(shadow, photograph, questions, scored)

    def load(self, bundle: str) -> CheckpointInfo:
        """Begins to load a bundle, and gives back how it stands; one that is in memory already stays.

        Raises CheckpointStateError when too many are in memory, and what `BundleStore.find` raises.
        """
        return self.table.info(self._admit(self.bundles.find(bundle)))

    def newest_activation(self) -> Activation | None:
        """The last one of all replicas. Raises StoreError."""
        return self._history.last()

    def forget_generation(self, generation: int, newest: Activation | None) -> bool:
        """Forgets by which activation this process answers if the database, whose newest activation was read
        after `generation`, does not know it any more; whether that is so. Whatever is activated next then
        counts as newer, though its number may be lower."""
        with self._changing:
            same = newest is not None and newest.checkpoint == self.table.active.id
            last = 0 if newest is None else newest.generation
            if self.generation != generation or last > generation or (last == generation and same):
                return False
            self.generation = 0
        return generation > 0

    def follow(self, newest: Activation) -> State:
        """One step towards what another replica has activated: loads it, or makes it active if it is ready.
        Gives the state in which it is. Raises as `load` does."""
        checkpoint = self._admit(find_bundle(newest, self.bundles))
        with self._changing:
            if newest.generation > self.generation and checkpoint.state in {State.ACTIVE, *USABLE}:
                self._take_over(checkpoint, newest.generation)
            return checkpoint.state

    def activate(self, checkpoint_id: str, *, force: bool = False) -> CheckpointInfo:
        """Makes a checkpoint the one that answers; the active one stays so.

        Raises CheckpointStateError unless it is ready, DriftError unless it keeps the settings' limits or
        `force` is given, StoreError, and nothing changes then.
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
        """Brings back the one that was active before. Where it is not in memory, as after a restart, its
        bundle is loaded first, which takes as long as `load`, at most `Settings.request_seconds`.

        Raises CheckpointStateError where nothing was active before or it is not ready in time, what
        `BundleStore.find` raises, StoreError.
        """
        checkpoint = self.table.previous or self._load_previous()
        with self._changing:
            self._make_active(checkpoint)
        return self.table.info(checkpoint)

    def unload(self, checkpoint_id: str) -> CheckpointInfo:
        """Lets a checkpoint go as soon as its requests are answered. Raises CheckpointStateError for the
        active one."""
        checkpoint = self.table.get(checkpoint_id)
        with self._changing:
            if checkpoint is self._shadowing:
                self._end_shadow()
            self.table.unload(checkpoint)
        return self.table.info(checkpoint)

    def shadow(self, checkpoint_id: str, share: float | None = None) -> CheckpointInfo:
        """Lets a checkpoint see a share of the photographs, the settings' if none is given, and counts anew;
        0 ends it. Another that was the shadow is ready again. Raises CheckpointStateError unless it is
        ready."""
        checkpoint = self.table.get(checkpoint_id)
        share = self.settings.shadow_share if share is None else share
        with self._changing:
            self.table.check_usable(checkpoint)
            self._end_shadow()
            if share:
                self._begin_shadow(checkpoint, share)
        return self.table.info(checkpoint)

    def drift(self, checkpoint_id: str) -> DriftReport:
        """How a checkpoint differs from the active one, as far as it has been its shadow."""
        checkpoint = self.table.get(checkpoint_id)
        return (checkpoint.drift or Drift()).report(checkpoint.id, self.settings)

    def close(self) -> None:
        """Ends what goes on in the background; what is being loaded stops at its next step."""
        for info in self.table.infos():
            if info.state is not State.ACTIVE:
                self.table.unload(self.table.get(info.id))
        self._shadow = None
        self._shadower.close()
        self._loader.close()

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
        # What makes room must not be what is being activated.
        with self._changing:
            checkpoint, is_new = self.table.admit(found)
        if is_new:
            self._loader.submit(self._bring_in, checkpoint, found)
        return checkpoint

    def _bring_in(self, checkpoint: Checkpoint, bundle: Bundle) -> None:
        """From candidate to ready, in the loader's thread; whatever goes wrong leaves the others as they
        are."""
        table = self.table
        try:
            table.wait_for_room(checkpoint)
            started = time.perf_counter()
            table.enter(checkpoint, State.LOADING)
            tagger = self._load_tagger(bundle.path)
            if tagger.engine.checkpoint_id != checkpoint.id:
                raise UnusableBundleError("the bundle has changed while it was read", "load it again")
            table.enter(checkpoint, State.WARMING)
            vocabularies = chain(self._registered(), self._recent.all())
            progress = partial(table.progress, checkpoint)
            warm_up(tagger, vocabularies, largest_batch(tagger, self.settings), progress)
            seconds = time.perf_counter() - started
            table.settle(checkpoint, tagger, seconds)
        except CancelledLoadError:
            pass
        except BaseException as error:
            table.enter(checkpoint, State.FAILED, reason(error))
            metrics.CHECKPOINT_FAILURES.inc()
            _logger.warning("the bundle %s cannot be used", bundle.path, exc_info=error)
        else:
            metrics.CHECKPOINT_LOAD_SECONDS.observe(seconds)
            _logger.info("the checkpoint %s is ready after %.1f s", checkpoint.id, seconds)

    def _check_drift(self, checkpoint: Checkpoint) -> None:
        report = (checkpoint.drift or Drift()).report(checkpoint.id, self.settings)
        if report.exceeded:
            raise DriftError(
                "; ".join(report.exceeded),
                "let it be a shadow for longer, or activate it with `force`",
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
        shadowing = self._shadowing
        if shadowing is not None and self._shadow is not None:
            share = self._shadow.share
            self._end_shadow()
            if shadowing is not checkpoint:
                # Compared with another one from now on.
                self._begin_shadow(shadowing, share)

    def _begin_shadow(self, checkpoint: Checkpoint, share: float) -> None:
        checkpoint.drift = Drift()
        self.table.enter(checkpoint, State.SHADOW)
        self._shadowing = checkpoint
        self._shadow = Shadow(partial(self.table.acquire, checkpoint), share, checkpoint.drift)
        self._loader.submit(self._measure, checkpoint, checkpoint.drift)

    def _measure(self, checkpoint: Checkpoint, drift: Drift) -> None:
        """Calibration errors, in the loader's thread: the examples may be many."""
        errors: list[float | None] = []
        for each in (self.table.active, checkpoint):
            handle = self.table.acquire(each)
            if handle is None:
                return
            with handle:
                try:
                    errors.append(self._calibration_error(handle.tagger))
                except TaggerError as error:
                    _logger.warning("the calibration error of %s is not known: %s", each.id, error)
                    errors.append(None)
        drift.note_errors(*errors)

    def _end_shadow(self) -> None:
        checkpoint, self._shadowing, self._shadow = self._shadowing, None, None
        if checkpoint is not None and checkpoint.state is State.SHADOW:
            self.table.enter(checkpoint, State.READY)


def load_tagger(settings: Settings, path: Path, label_calibrator: CalibrateLabels | None = None) -> Tagger:
    """The tagger that the settings describe, of another bundle. Raises as `Tagger.from_settings` does."""
    return Tagger.from_settings(settings.model_copy(update={"checkpoint": path}), label_calibrator)
