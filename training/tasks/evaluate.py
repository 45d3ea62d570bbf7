"""`sigrl-train evaluate`: a bundle on photographs it has not seen, through the engine that serves it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from model.engine import Engine
from model.features import ImageFeatures
from model.vocabulary import Vocabulary
from training.data.coco import CocoSplit
from training.data.dataset import DataError
from training.features import progress_bar, read_photograph
from training.metrics import average_precision, hit_at, precision_at

MINIMUM_POSITIVES = 10
CONSTANT_GUESS = ("person", "car", "chair", "handbag", "dining table")
COMPANY_SIZES = (5, 80, 500)
_BATCH_SIZE = 50


class Ranking(BaseModel):
    """How good the first tags of a photograph are, in percent."""

    precision_at_1: float
    precision_at_3: float
    true_label_in_first_5: float


class Company(BaseModel):
    """What unrelated labels do to 20 labels: once alone, then among distractors."""

    distractors: int
    mean_average_precision: float
    unchanged_decisions: float
    """Share of (photograph, label) pairs decided at the default threshold as without distractors, percent."""


class Report(BaseModel):
    """What `evaluate` measures; all numbers in percent unless said otherwise."""

    photographs: int
    mean_average_precision: float
    """Over the labels with at least 10 positives."""
    labels: int
    """How many those are."""
    hidden_mean_average_precision: float | None
    """Over the labels kept out of training, if any; the mean above includes them."""
    seen_mean_average_precision: float
    """Over the others with at least 10 positives."""
    ranking: Ranking
    constant_guess: Ranking
    """The same for the guess `person, car, chair, handbag, dining table`."""
    threshold: float
    micro_f1: float
    macro_f1: float
    """At the default threshold, over the labels with at least 10 positives."""
    single_label: dict[str, float]
    """`dog` asked for alone: its average precision, and precision and recall at the default threshold."""
    company: list[Company]
    per_label: dict[str, float]


def encode_split(engine: Engine, split: CocoSplit) -> list[ImageFeatures]:
    """Image features of all photographs, in batches, with a progress bar."""
    batches: list[ImageFeatures] = []
    with progress_bar() as progress:
        task = progress.add_task("photographs", total=len(split.image_paths), note="")
        for start in range(0, len(split.image_paths), _BATCH_SIZE):
            paths = split.image_paths[start : start + _BATCH_SIZE]
            pixel_values = [read_photograph(path, engine.preprocessing) for path in paths]
            batches.append(engine.encode_images(np.stack(pixel_values)))
            progress.update(task, advance=len(paths))
    return batches


def evaluate(
    engine: Engine, split: CocoSplit, hidden_labels: Sequence[str], distractors: Sequence[str]
) -> Report:
    """Measures `engine` on `split`; `distractors` are names unrelated to its labels, at least 500 of them for
    all rows of the company. Raises DataError when the split lacks the labels that have a row of their own."""
    if absent := [name for name in ("dog", *CONSTANT_GUESS) if name not in split.label_names]:
        raise DataError(f"the test split has no label {absent[0]!r}: `evaluate` measures on COCO's labels")
    batches = encode_split(engine, split)

    def logits(names: Sequence[str]) -> np.ndarray:
        labels = engine.encode_labels(Vocabulary.from_names(names))
        return np.concatenate([engine.score(batch, labels) for batch in batches])

    names, targets = split.label_names, split.labels
    scores = logits(names)
    precisions = average_precision(scores, targets)
    counted = targets.sum(0) >= MINIMUM_POSITIVES
    hidden = np.isin(names, list(hidden_labels))
    decided = engine.probabilities(scores) >= engine.default_threshold
    dog = names.index("dog")
    return Report(
        photographs=len(targets),
        mean_average_precision=float(precisions[counted].mean()),
        labels=int(counted.sum()),
        hidden_mean_average_precision=float(precisions[hidden].mean()) if hidden.any() else None,
        seen_mean_average_precision=float(precisions[counted & ~hidden].mean()),
        ranking=_ranking(scores, targets),
        constant_guess=_ranking(_constant_scores(names, len(targets)), targets),
        threshold=engine.default_threshold,
        **_f1(decided[:, counted], targets[:, counted]),
        single_label=_single_label(engine, logits(["dog"])[:, 0], targets[:, dog]),
        company=_company(engine, logits, names, targets, distractors),
        per_label=dict(zip(names, np.round(precisions, 1).tolist(), strict=True)),
    )


def _ranking(scores: np.ndarray, targets: np.ndarray) -> Ranking:
    return Ranking(
        precision_at_1=precision_at(scores, targets, 1),
        precision_at_3=precision_at(scores, targets, 3),
        true_label_in_first_5=hit_at(scores, targets, 5),
    )


def _constant_scores(names: Sequence[str], photographs: int) -> np.ndarray:
    row = np.zeros(len(names))
    for rank, name in enumerate(CONSTANT_GUESS):
        row[names.index(name)] = len(CONSTANT_GUESS) - rank
    return np.tile(row, (photographs, 1))


def _f1(decided: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    true = (decided & (targets > 0)).sum(0)
    size = decided.sum(0) + targets.sum(0)
    return {
        "micro_f1": float(200 * true.sum() / max(size.sum(), 1)),
        "macro_f1": float((200 * true / np.maximum(size, 1)).mean()),
    }


def _single_label(engine: Engine, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    decided = engine.probabilities(logits) >= engine.default_threshold
    true = float((decided & (targets > 0)).sum())
    return {
        "average_precision": float(average_precision(logits[:, None], targets[:, None])[0]),
        "precision": 100 * true / max(float(decided.sum()), 1),
        "recall": 100 * true / max(float(targets.sum()), 1),
        "photographs": float(targets.sum()),
    }


def _company(
    engine: Engine, logits: Any, names: Sequence[str], targets: np.ndarray, distractors: Sequence[str]
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
        scores = logits([asked[index] for index in order])[:, np.argsort(order)][:, : len(chosen)]
        decided = engine.probabilities(scores) >= engine.default_threshold
        alone = decided if alone is None else alone
        results.append(
            Company(
                distractors=len(asked) - len(chosen),
                mean_average_precision=float(average_precision(scores, targets[:, columns]).mean()),
                unchanged_decisions=float(100 * (decided == alone).mean()),
            )
        )
    return results
