"""The bundled checkpoint's own report: the general evaluation, and measures that need COCO's labels.

The latter are a constant guess, a label asked for alone, and labels among unrelated ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from sigrl.model.engine import Engine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.coco import CocoSplit
from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.measures.evaluation import (
    MINIMUM_POSITIVES,
    encode_photographs,
    evaluate_scores,
    ranking,
)
from sigrl.training.measures.metrics import average_precision
from sigrl.training.measures.report import Evaluation, Ranking

CONSTANT_GUESS = ("person", "car", "chair", "handbag", "dining table")
COMPANY_SIZES = (5, 80, 500)


class Company(BaseModel):
    """The effect of unrelated labels on 20 labels, measured alone and among distractors."""

    distractors: int
    mean_average_precision: float
    unchanged_decisions: float
    """Share of (photograph, label) pairs with the same default decision as without distractors, in
    percent."""


class Report(BaseModel):
    """The measurements of `evaluate`, in percent unless stated otherwise. Except for `evaluation`, its fields
    are those recorded under `metrics` in the manifest of the bundled checkpoint."""

    photographs: int
    mean_average_precision: float
    """Over the labels with at least 10 positives."""
    labels: int
    """The number of those labels."""
    hidden_mean_average_precision: float | None
    """Over the labels withheld from training, if any; the mean above includes them."""
    seen_mean_average_precision: float
    """Over the other labels with at least 10 positives."""
    ranking: Ranking
    constant_guess: Ranking
    """The same for the guess `person, car, chair, handbag, dining table`."""
    threshold: float
    """The default threshold; if labels have their own thresholds, it is only their starting point."""
    micro_f1: float
    macro_f1: float
    """At the labels' thresholds, over the labels with at least 10 positives."""
    single_label: dict[str, float]
    """`dog` asked for alone: average precision, and precision and recall at its threshold."""
    company: list[Company]
    per_label: dict[str, float]
    evaluation: Evaluation | None = None
    """All general measures; not recorded in manifests."""

    def recorded(self) -> dict[str, Any]:
        """The part that is recorded in a bundle's manifest."""
        return self.model_dump(mode="json", exclude={"evaluation"})


@dataclass(frozen=True)
class Predictions:
    """The engine's output for N photographs and some labels."""

    scores: np.ndarray
    """[N, C]."""
    probabilities: np.ndarray
    """[N, C]."""
    thresholds: np.ndarray
    """[C]."""

    @property
    def decided(self) -> np.ndarray:
        """Which labels count as present [N, C]."""
        decided: np.ndarray = self.probabilities >= self.thresholds
        return decided


def evaluate(
    engine: Engine, split: CocoSplit, hidden_labels: Sequence[str], distractors: Sequence[str]
) -> Report:
    """Measures `engine` on `split`; `distractors` are names unrelated to its labels, at least 500 of them to
    fill all rows of `company`. Raises DataError if the split lacks a label that is measured separately."""
    if absent := [name for name in ("dog", *CONSTANT_GUESS) if name not in split.label_names]:
        raise DataError(f"the test split has no label {absent[0]!r}: `evaluate` measures on COCO's labels")
    batches = list(encode_photographs(engine, split.image_paths))

    def ask(names: Sequence[str]) -> Predictions:
        labels = engine.encode_labels(Vocabulary.from_names(names))
        scores = np.concatenate([engine.score(batch, labels) for batch in batches])
        return Predictions(scores, engine.probabilities(scores, labels), engine.thresholds(labels))

    names, targets = split.label_names, split.labels
    labels = np.where(targets > 0, 1, -1).astype(np.int8)
    predictions = ask(names)
    photographs = LabelledPhotographs(split.image_paths, names, labels)
    evaluation = evaluate_scores(
        predictions.scores, predictions.probabilities, predictions.thresholds, photographs
    )
    if evaluation.frequent is None:
        raise DataError(
            f"no label of the test split has {MINIMUM_POSITIVES} positives: `evaluate` needs more photographs"
        )
    precisions = np.array([label.average_precision or 0.0 for label in evaluation.per_label])
    counted = targets.sum(0) >= MINIMUM_POSITIVES
    hidden = np.isin(names, list(hidden_labels))
    dog = names.index("dog")
    return Report(
        photographs=len(targets),
        mean_average_precision=evaluation.frequent.mean_average_precision,
        labels=evaluation.frequent.labels,
        hidden_mean_average_precision=float(precisions[hidden].mean()) if hidden.any() else None,
        seen_mean_average_precision=float(precisions[counted & ~hidden].mean()),
        ranking=evaluation.ranking,
        constant_guess=ranking(_constant_scores(names, len(targets)), labels),
        threshold=engine.default_threshold,
        micro_f1=evaluation.frequent.micro_f1,
        macro_f1=evaluation.frequent.macro_f1,
        single_label=_single_label(ask(["dog"]), targets[:, [dog]]),
        company=_company(ask, names, targets, distractors),
        per_label=dict(zip(names, np.round(precisions, 1).tolist(), strict=True)),
        evaluation=evaluation,
    )


def _constant_scores(names: Sequence[str], photographs: int) -> np.ndarray:
    row = np.zeros(len(names))
    for rank, name in enumerate(CONSTANT_GUESS):
        row[names.index(name)] = len(CONSTANT_GUESS) - rank
    return np.tile(row, (photographs, 1))


def _single_label(predictions: Predictions, targets: np.ndarray) -> dict[str, float]:
    decided = predictions.decided
    true = float((decided & (targets > 0)).sum())
    return {
        "average_precision": float(average_precision(predictions.scores, targets)[0]),
        "precision": 100 * true / max(float(decided.sum()), 1),
        "recall": 100 * true / max(float(targets.sum()), 1),
        "photographs": float(targets.sum()),
    }


def _company(
    ask: Callable[[Sequence[str]], Predictions],
    names: Sequence[str],
    targets: np.ndarray,
    distractors: Sequence[str],
) -> list[Company]:
    """The 20 most frequent labels, alone and shuffled among distractors."""
    columns = np.argsort(-targets.sum(0), kind="stable")[:20]
    chosen = [names[column] for column in columns]
    random = np.random.RandomState(0)
    alone = None
    results = []
    for size in (0, *COMPANY_SIZES):
        asked = [*chosen, *(distractors[index] for index in random.permutation(len(distractors))[:size])]
        order = random.permutation(len(asked))
        predictions = ask([asked[index] for index in order])
        own = np.argsort(order)[: len(chosen)]
        scores, decided = predictions.scores[:, own], predictions.decided[:, own]
        alone = decided if alone is None else alone
        results.append(
            Company(
                distractors=len(asked) - len(chosen),
                mean_average_precision=float(average_precision(scores, targets[:, columns]).mean()),
                unchanged_decisions=float(100 * (decided == alone).mean()),
            )
        )
    return results
