"""Evaluation of a bundle on labelled photographs, with the engine that serves it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sigrl.model.engine import Engine, ImageFeatures
from sigrl.model.processors import available_processors
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.features import photograph_batches
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.measures.best_and_worst import best_and_worst
from sigrl.training.measures.metrics import (
    average_precision_of_known,
    best_of_known,
    expected_calibration_error,
    f1_of_decisions,
)
from sigrl.training.measures.report import (
    Calibration,
    Evaluation,
    LabelMeasures,
    Means,
    Ranking,
    ReliabilityBin,
    Retrieval,
)

MINIMUM_POSITIVES = 10
"""A label with fewer positives is measured, but one photograph changes its average precision by
percentage points."""
_BATCH_SIZE = 50


def encode_photographs(engine: Engine, paths: Sequence[Path]) -> Iterator[ImageFeatures]:
    """Image features in batches, in order, with a progress bar. Raises DataError for a file that cannot be
    read."""
    workers = min(4, available_processors()) if len(paths) > _BATCH_SIZE else 0
    for pixel_values in photograph_batches(paths, engine.preprocessing, "photographs", _BATCH_SIZE, workers):
        yield engine.encode_images(pixel_values.numpy())


def evaluate_photographs(
    engine: Engine, photographs: LabelledPhotographs, vocabulary: Vocabulary | None = None
) -> Evaluation:
    """Measures `engine` on `photographs`, one or more.

    `vocabulary` describes their labels, in order, if these have their own synonyms or prompts. Raises
    DataError for a file that cannot be read, and VocabularyError for labels that cannot be asked for.
    """
    labels = engine.encode_labels(vocabulary or Vocabulary.from_names(photographs.label_names))
    scores = [engine.score(batch, labels) for batch in encode_photographs(engine, photographs.image_paths)]
    every = np.concatenate(scores)
    thresholds = engine.thresholds(labels)
    return evaluate_scores(every, engine.probabilities(every, labels), thresholds, photographs)


def evaluate_scores(
    scores: npt.NDArray[np.floating],
    probabilities: npt.NDArray[np.floating],
    thresholds: float | npt.NDArray[np.floating],
    photographs: LabelledPhotographs,
) -> Evaluation:
    """The same for `scores` [N, C] and their `probabilities` [N, C] from any source; `thresholds` is one for
    all labels, or [C]."""
    labels = photographs.labels
    true, known = labels == 1, labels != 0
    precisions = average_precision_of_known(scores, labels)
    decided = (probabilities >= thresholds) & known
    positives, counts = true.sum(axis=0), known.sum(axis=0)

    def means(minimum: int) -> Means | None:
        counted = positives >= minimum
        if not counted.any():
            return None
        micro, macro = f1_of_decisions(decided[:, counted], true[:, counted])
        return Means(
            labels=int(counted.sum()),
            mean_average_precision=float(precisions[counted].mean()),
            micro_f1=micro,
            macro_f1=macro,
        )

    calibration, errors = _calibration(probabilities, true, known)
    best, worst = best_and_worst(scores, probabilities, photographs)
    return Evaluation(
        photographs=len(photographs),
        threshold=_one_threshold(thresholds),
        positive=means(1),
        frequent=means(MINIMUM_POSITIVES),
        ranking=ranking(scores, labels),
        at_3=_retrieval(scores, labels, 3),
        at_5=_retrieval(scores, labels, 5),
        calibration=calibration,
        per_label=[
            LabelMeasures(
                label=name,
                positives=int(positives[column]),
                negatives=int(counts[column] - positives[column]),
                average_precision=float(precisions[column]) if positives[column] else None,
                calibration_error=float(errors[column]) if counts[column] else None,
            )
            for column, name in enumerate(photographs.label_names)
        ],
        best=best,
        worst=worst,
    )


def _one_threshold(thresholds: float | npt.NDArray[np.floating]) -> float | None:
    different = np.unique(thresholds)
    # Engines have float32 thresholds; 0.3 must not be reported as 0.30000001.
    return round(float(different[0]), 6) if len(different) == 1 else None


def ranking(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> Ranking:
    """Ranking measures of `scores` and `labels` [N, C], labels in {-1, 0, 1}; unknown labels do not count."""
    first, first_3, first_5 = (best_of_known(scores, labels, k) for k in (1, 3, 5))
    some = first.taken > 0
    return Ranking(
        precision_at_1=_percent(first.right.sum(), first.taken.sum()),
        precision_at_3=_percent(first_3.right.sum(), first_3.taken.sum()),
        true_label_in_first_5=_percent((first_5.right > 0).sum(), some.sum()),
    )


def _retrieval(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], k: int) -> Retrieval:
    """Like `f1_at` of `measures.metrics`, except that unknown labels are skipped rather than counted as
    wrong."""
    best = best_of_known(scores, labels, k)
    right, taken, true = best.right.sum(), best.taken.sum(), (labels == 1).sum()
    return Retrieval(
        f1=_percent(2 * right, taken + true), precision=_percent(right, taken), recall=_percent(right, true)
    )


def _percent(part: np.integer, whole: np.integer) -> float:
    return float(100 * part / max(whole, 1))


def _calibration(
    probabilities: npt.NDArray[np.floating], true: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]
) -> tuple[Calibration | None, np.ndarray]:
    """The calibration, and the error of each label [C]."""
    if not known.any():
        return None, np.full(known.shape[1], np.nan)
    error = expected_calibration_error(probabilities, true, known=known)
    bins = zip(error.counts, error.mean_probabilities, error.frequencies, strict=True)
    calibration = Calibration(
        overall=error.overall,
        mean_over_labels=float(np.nanmean(error.per_label)),
        bins=[
            ReliabilityBin(pairs=int(count), probability=float(probability), frequency=float(frequency))
            for count, probability, frequency in bins
            if count
        ],
    )
    return calibration, error.per_label
