"""The tables of an evaluation."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from sigrl.training.commands.tables import evaluation_tables
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.measures.evaluation import evaluate_scores


def table_of(count: int, name: str = "label") -> str:
    random = np.random.RandomState(0)
    scores, labels = random.rand(30, count), random.choice([-1, 0, 1], (30, count)).astype(np.int8)
    labels[:, -1] = -1
    names = tuple(f"{name} {number}" for number in range(count))
    photographs = LabelledPhotographs(tuple(Path(f"{row}.jpg") for row in range(30)), names, labels)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(evaluation_tables(evaluate_scores(scores, scores, 0.5, photographs)))
    return console.export_text()


def test_small_table_shows_all_labels_with_positives() -> None:
    text = table_of(5)
    assert all(f"label {number} " in text for number in range(4))
    assert "label 4" not in text
    assert "without a positive: 1" in text
    assert "mAP, 4 labels with at least a positive" in text


def test_large_table_shows_best_and_worst_labels() -> None:
    text = table_of(101)
    assert text.count("label ") < 50
    assert "the best and the worst 15 of 100 labels" in text
    assert "…" in text


def test_label_names_are_not_parsed_as_markup() -> None:
    assert "[red]x[/red] 0" in table_of(3, "[red]x[/red]")
