"""Loads bundles in the background, and encodes vocabularies before they are requested."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.ahead import compile_ahead
from sigrl.service.checkpoints.bundles import Bundle
from sigrl.service.checkpoints.recent import RecentVocabularies
from sigrl.service.checkpoints.states import Checkpoint
from sigrl.service.checkpoints.table import CancelledLoadError, CheckpointTable
from sigrl.service.checkpoints.warming import encode_ahead, largest_batch, reason, warm_up
from sigrl.service.errors import UnusableBundleError
from sigrl.service.observability import metrics
from sigrl.service.schemas.checkpoints import State
from sigrl.service.settings import Settings
from sigrl.service.tagging.encoded_labels import CalibrateLabels
from sigrl.service.tagging.tagger import Tagger

_logger = logging.getLogger("sigrl")


class Loader:
    """Loads one bundle at a time. Thread-safe; no method blocks."""

    def __init__(
        self,
        table: CheckpointTable,
        settings: Settings,
        load: Callable[[Path], Tagger],
        registered: Callable[[], Iterable[Vocabulary]],
        threads: RequestThreads,
    ) -> None:
        """See `Runtime`. `threads`: runs the work."""
        self._table, self._settings = table, settings
        self._load, self._registered, self._threads = load, registered, threads
        self._recent = RecentVocabularies()

    def start(self, checkpoint: Checkpoint, bundle: Bundle) -> None:
        """Takes a checkpoint from candidate to ready. A failure leaves the other checkpoints as they are."""
        self._threads.submit(self._bring_in, checkpoint, bundle)

    def note(self, vocabularies: Sequence[Vocabulary]) -> None:
        """See `Runtime.note`."""
        self._recent.note(vocabularies)

    def prepare(self, vocabulary: Vocabulary) -> None:
        """See `Runtime.prepare`."""
        for info in self._table.infos():
            handle = self._table.acquire(self._table.get(info.id))
            if handle is not None:
                self._threads.submit(encode_ahead, handle, vocabulary)

    def _bring_in(self, checkpoint: Checkpoint, bundle: Bundle) -> None:
        table = self._table
        try:
            table.wait_for_room(checkpoint)
            started = time.perf_counter()
            table.enter(checkpoint, State.LOADING)
            vocabularies = [*self._registered(), *self._recent.all()]
            progress = partial(table.progress, checkpoint)
            compile_ahead(bundle.path, self._settings, vocabularies, progress)
            tagger = self._load(bundle.path)
            if tagger.engine.checkpoint_id != checkpoint.id:
                raise UnusableBundleError("the bundle has changed while it was read", "load the bundle again")
            table.enter(checkpoint, State.WARMING)
            warm_up(tagger, vocabularies, largest_batch(tagger, self._settings), progress)
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


def load_tagger(settings: Settings, path: Path, label_calibrator: CalibrateLabels | None = None) -> Tagger:
    """The tagger that the settings describe, but with the bundle in `path`. Raises as `Tagger.from_settings`
    does."""
    return Tagger.from_settings(settings.model_copy(update={"checkpoint": path}), label_calibrator)
