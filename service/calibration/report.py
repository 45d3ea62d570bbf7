"""What is told of a calibration, and of a list of labels without one."""

from collections import Counter

import numpy as np

from model.engine import Engine, LabelFeatures
from model.label_hygiene import LabelPair, hygiene
from model.vocabulary import Vocabulary
from service.calibration.examples import Calibration, CalibrationGoal
from service.results import Answer, VocabularyInfo

_DIGITS = 6


class SimilarLabels(Answer):
    """Two labels that a checkpoint hardly tells apart."""

    first: str
    second: str
    similarity: float
    """Cosine of the texts, or correlation of the scores."""


class HygieneReport(Answer):
    """Labels of a vocabulary that one should look at; all lists may be empty."""

    checkpoint: str
    """Id of the checkpoint that judged."""
    vocabulary: VocabularyInfo
    """What was judged."""
    photographs: int
    """Size of the checkpoint's background set of everyday photographs; 0 if it has none, and then only
    near-duplicates can be told."""
    never: tuple[str, ...]
    """On no photograph of the background set is the label present: too rare, or unknown to the checkpoint."""
    always: tuple[str, ...]
    """It is present on nearly all of them, and tells nothing."""
    near_duplicates: tuple[SimilarLabels, ...]
    """Their texts are nearly the same to the text tower: one may be a synonym of the other."""
    indistinguishable: tuple[SimilarLabels, ...]
    """Their scores rise and fall together on the background set, whatever the texts."""


class CalibratedLabel(Answer):
    """What a calibration did for one label."""

    label: str
    positives: int
    """Examples that show it."""
    negatives: int
    """Examples that are known not to show it."""
    threshold: float
    """Probability from which on it counts as present; a threshold that the vocabulary itself gives goes
    before it."""
    threshold_before: float
    """The same without the calibration."""


class CalibrationReport(Answer):
    """A vocabulary's calibration as a checkpoint uses it. Thresholds are fitted anew for each checkpoint."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabulary: VocabularyInfo
    """What is calibrated; `calibration` is its number."""
    goal: CalibrationGoal
    """What thresholds are chosen for."""
    examples: int
    """Photographs it rests on."""
    labels: tuple[CalibratedLabel, ...]
    """In the vocabulary's order."""
    hygiene: HygieneReport
    """Labels to look at."""


def judge_labels(vocabulary: Vocabulary, engine: Engine, features: LabelFeatures) -> HygieneReport:
    """The report on a vocabulary's labels, by their features on `engine`."""
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
    refined: LabelFeatures,
) -> CalibrationReport:
    """The report on a calibration, by the labels' features on `engine` without it and with it."""
    counts = Counter((name, holds) for _, shown in calibration.examples for name, holds in shown.items())
    thresholds = zip(engine.thresholds(refined).tolist(), engine.thresholds(plain).tolist(), strict=True)
    labels = tuple(
        CalibratedLabel(
            label=name,
            positives=counts[name, True],
            negatives=counts[name, False],
            threshold=round(threshold, _DIGITS),
            threshold_before=round(before, _DIGITS),
        )
        for name, (threshold, before) in zip(vocabulary.names, thresholds, strict=True)
    )
    return CalibrationReport(
        checkpoint=engine.checkpoint_id,
        vocabulary=VocabularyInfo.of(vocabulary),
        goal=calibration.goal,
        examples=len(calibration.examples),
        labels=labels,
        hygiene=judge_labels(vocabulary, engine, refined),
    )


def _similar(pair: LabelPair) -> SimilarLabels:
    return SimilarLabels(first=pair.first, second=pair.second, similarity=round(pair.similarity, _DIGITS))
