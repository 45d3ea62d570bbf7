"""Batches of texts are small enough for others to have their turn in between."""

import numpy as np

from sigrl.model.label_texts import TEXT_BATCH, text_batches
from sigrl.model.vocabulary import Label


def test_long_texts_are_put_in_smaller_batches() -> None:
    short = [Label(name=f"label {number}") for number in range(300)]
    sizes = [len(batch.texts) for batch in text_batches(short, ["a photograph of a {label}"])]
    assert sizes == [TEXT_BATCH, TEXT_BATCH, 300 - 2 * TEXT_BATCH]
    long = [Label(name=f"{number:0150}") for number in range(300)]
    batches = list(text_batches(long, ["{label}"]))
    assert max(len(batch.texts) for batch in batches) == 40
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(300))
    assert batches[-1].labels_done == 300


def test_text_of_any_length_gets_a_batch() -> None:
    # A prompt may contain the label as often as it likes.
    label = Label(name=200 * "x", prompts=(100 * "{label} ", 101 * "{label} "))
    assert [len(batch.texts) for batch in text_batches([label], [])] == [1, 1]
