"""Chooses the checkpoint that is active when a process starts."""

import logging
from collections.abc import Iterable
from functools import partial

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.activations import Activation, Activations, find_bundle
from sigrl.service.checkpoints.bundles import BundleStore, configured
from sigrl.service.checkpoints.loading import load_tagger
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.checkpoints.warming import reason, registered, warm_up
from sigrl.service.settings import Settings
from sigrl.service.tagging.encoded_labels import CalibrateLabels
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.calibration_store import CalibrationStore
from sigrl.service.vocabularies.label_calibrator import LabelCalibrator
from sigrl.service.vocabularies.registry import VocabularyRegistry

_logger = logging.getLogger("sigrl")


def open_runtime(settings: Settings, registry: VocabularyRegistry, tagger: Tagger | None = None) -> Runtime:
    """The runtime of an installation, with `tagger` active if one is given.

    Otherwise the checkpoint that was activated last becomes active, unless SIGRL_CHECKPOINT has changed since
    then. If it has, or nothing was activated, or that checkpoint can no longer be loaded, the checkpoint that
    the settings name becomes active.

    Raises as `Tagger.from_settings` does, and StoreError.
    """
    history, bundles = Activations(registry.database), BundleStore.of(settings)
    bundles.make()
    label_calibrator = LabelCalibrator(CalibrationStore(registry.database))
    wanted, last = configured(settings), history.last()
    generation, problem, bundle = 0, None, wanted
    if tagger is None and last is not None and not last.by_settings and last.configured == wanted:
        try:
            tagger = _restore(last, bundles, settings, label_calibrator)
            generation, bundle = last.generation, last.bundle
        except Exception as error:
            problem = f"the checkpoint {last.checkpoint} of generation {last.generation} cannot be used: "
            problem += reason(error)
            _logger.warning("%s; the configured one answers", problem)
    tagger = tagger or Tagger.from_settings(settings, label_calibrator)
    tagger.labels.calibrator = tagger.labels.calibrator or label_calibrator
    checkpoint = tagger.engine.checkpoint_id
    if not generation and problem is None:
        same = last is not None and last.checkpoint == checkpoint and last.configured == wanted
        generation = (
            last.generation
            if last is not None and same
            else history.record(checkpoint, bundle, wanted, by_settings=True)
        )
    return Runtime(
        tagger,
        settings,
        bundle=bundle,
        bundles=bundles,
        load=partial(load_tagger, settings, label_calibrator=label_calibrator),
        history=history,
        generation=generation,
        problem=problem,
        registered=lambda: registered(registry),
        calibration_error=lambda tagger: _calibration_error(label_calibrator, tagger, registered(registry)),
    )


def _calibration_error(
    label_calibrator: LabelCalibrator, tagger: Tagger, vocabularies: Iterable[Vocabulary]
) -> float | None:
    """The mean over the calibrated vocabularies that have examples; None if there are none."""
    calibrated = [each for each in vocabularies if each.calibration is not None]
    errors = [label_calibrator.error(tagger.tower, each, tagger.labels.features(each)) for each in calibrated]
    known = [error for error in errors if error is not None]
    return round(sum(known) / len(known), 6) if known else None


def _restore(
    last: Activation, bundles: BundleStore, settings: Settings, label_calibrator: CalibrateLabels
) -> Tagger:
    tagger = load_tagger(settings, find_bundle(last, bundles).path, label_calibrator)
    # A model that loads but does not work would otherwise keep the service from starting.
    warm_up(tagger, (), 1, lambda _done, _total: None)
    return tagger
