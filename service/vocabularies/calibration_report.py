"""Reports on a calibration, and on the labels of any vocabulary."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.label_hygiene import LabelPair, hygiene
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.schemas.calibration import (
    CalibratedLabel,
    CalibrationReport,
    HygieneReport,
    SimilarLabels,
)
from sigrl.service.schemas.tagging import VocabularyInfo
from sigrl.service.vocabularies.examples import Calibration

_DIGITS = 6


def judge_labels(vocabulary: Vocabulary, engine: Engine, features: LabelFeatures) -> HygieneReport:
    """The report on a vocabulary's labels for the checkpoint of `engine`; `features` belong to them."""
    background = engine.background_logits(features)
    if background is None:
        background = np.zeros((0, len(vocabulary.labels)), np.float32)
    present = engine.probabilities(background, features) >= engine.thresholds(features)
    judged = hygiene(vocabulary.names, engine.label_embeddings(features), background, present)
    return HygieneReport(
        checkpoint=engine.checkpoint_id,
        vocabulary=VocabularyInfo.of(vocabulary),
        photographs=len(background),
        never=judged.never,
        always=judged.always,
        near_duplicates=tuple(map(_similar, judged.near_duplicates)),
        indistinguishable=tuple(map(_similar, judged.indistinguishable)),
    )


def report_calibration(
    vocabulary: Vocabulary,
    calibration: Calibration,
    engine: Engine,
    plain: LabelFeatures,
    calibrated: LabelFeatures,
    overruled: Sequence[int],
) -> CalibrationReport:
    """The report on a calibration as `engine` uses it. `plain` and `calibrated` are the labels' features
    without and with the calibration; `overruled` has each label's number (`CalibratedLabel.overruled`)."""
    counts = Counter((name, applies) for _, shown in calibration.examples for name, applies in shown.items())
    thresholds = zip(engine.thresholds(calibrated).tolist(), engine.thresholds(plain).tolist(), strict=True)
    labels = tuple(
        CalibratedLabel(
            label=name,
            positives=counts[name, True],
            negatives=counts[name, False],
            threshold=round(threshold, _DIGITS),
            threshold_before=round(before, _DIGITS),
            overruled=against,
        )
        for name, (threshold, before), against in zip(vocabulary.names, thresholds, overruled, strict=True)
    )
    return CalibrationReport(
        checkpoint=engine.checkpoint_id,
        vocabulary=VocabularyInfo.of(vocabulary),
        goal=calibration.goal,
        examples=len(calibration.examples),
        labels=labels,
        hygiene=judge_labels(vocabulary, engine, calibrated),
    )


def _similar(pair: LabelPair) -> SimilarLabels:
    return SimilarLabels(first=pair.first, second=pair.second, similarity=round(pair.similarity, _DIGITS))
