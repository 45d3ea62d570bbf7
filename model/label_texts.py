"""The texts that form a label, in batches for a text tower. Imports without torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigrl.model.vocabulary import Label

TEXT_BATCH = 128
_BATCH_CHARACTERS = 6144
"""At most, with padding. Other requests' labels have their turn between two batches, and would wait too
long for one of 128 long texts."""


def packed_widths(embed_dim: int, *, calibration: bool, background: int, evidence: int) -> dict[str, int]:
    """The arrays [C, width] stored for encoded labels, by name. `calibration`: whether the labels have one;
    `background` is the number of photographs in the checkpoint's background set or 0, `evidence` the width of
    its evidence rows or 0."""
    widths = {"label_embeddings": embed_dim, "refined": embed_dim, "calibration": 3 * calibration}
    widths |= {"background": background, "evidence": evidence}
    return {name: width for name, width in widths.items() if width}


def check_label_arrays(arrays: Mapping[str, npt.NDArray[np.float32]], widths: Mapping[str, int]) -> None:
    """Raises ValueError unless these are exactly the arrays, each [C, width] in float32."""
    fits = arrays.keys() == widths.keys() and len({len(array) for array in arrays.values()}) == 1
    if not fits or any(
        array.dtype != np.float32 or array.shape[1:] != (widths[name],) for name, array in arrays.items()
    ):
        raise ValueError(f"these are not label features: {', '.join(sorted(arrays))[:200]}")


def named_by(labels: Sequence[Label], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """[C, N]: 1 where a label has one of N names as its own or as a synonym, whatever the case; else 0, also
    for a label with its own prompts, which may mean something else."""
    words = [
        set() if label.prompts else {word.casefold() for word in (label.english, *label.synonyms)}
        for label in labels
    ]
    found = [[name.casefold() in own for name in names] for own in words]
    return np.array(found, np.float32).reshape(len(labels), len(names))


@dataclass(frozen=True)
class TextBatch:
    """N texts for the text tower.

    The features of a label's texts are normalised and averaged, as in CLIP; the feature of a single text is
    not changed, as published.
    """

    texts: list[str]
    """[N]."""
    rows: npt.NDArray[np.int64]
    """[N]: the label to which each text belongs."""
    counts: npt.NDArray[np.int64]
    """[N]: number of texts of that label, over all batches."""
    labels_done: int
    """Number of labels that are complete after this batch."""


def text_batches(labels: Sequence[Label], templates: Sequence[str]) -> Iterator[TextBatch]:
    """All texts of all labels: a label's own prompts, otherwise the templates, filled with its name and each
    synonym (`Label.texts`)."""
    texts = [(text, row) for row, label in enumerate(labels) for text in label.texts(templates)]
    # Texts of similar length share a batch, because a long one would pad all others to its length.
    texts.sort(key=lambda pair: len(pair[0]))
    counts = Counter(row for _, row in texts)
    left = counts.copy()
    done = start = 0
    while start < len(texts):
        batch = _batch(texts[start : start + TEXT_BATCH])
        start += len(batch)
        rows = [row for _, row in batch]
        for row in rows:
            left[row] -= 1
            done += left[row] == 0
        yield TextBatch(
            [text for text, _ in batch], np.array(rows), np.array([counts[row] for row in rows]), done
        )


def _batch(texts: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    """The first of these texts, sorted by length, as many as a batch may have; at least one."""
    fitting = (count for count, (text, _) in enumerate(texts, 1) if count * len(text) <= _BATCH_CHARACTERS)
    return texts[: max(fitting, default=1)]
