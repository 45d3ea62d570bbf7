"""Which texts make up a label, in batches for a text tower. Imports without torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigrl.model.vocabulary import Label

TEXT_BATCH = 128


def packed_widths(embed_dim: int, background: int, evidence: int) -> dict[str, int]:
    """What is kept of encoded labels, on a checkpoint with a background set of so many photographs or 0, and
    rows of its evidence of such a width or 0: arrays [C, width] by name."""
    widths = {"label_embeddings": embed_dim, "refined": embed_dim}
    if background:
        widths |= {"calibration": 3, "background": background}
    return widths | {"evidence": evidence} if evidence else widths


def check_label_arrays(arrays: Mapping[str, npt.NDArray[np.float32]], widths: Mapping[str, int]) -> None:
    """Raises ValueError unless there are just these arrays, each [C, its width] in float32."""
    fits = arrays.keys() == widths.keys() and len({len(array) for array in arrays.values()}) == 1
    if not fits or any(
        array.dtype != np.float32 or array.shape[1:] != (widths[name],) for name, array in arrays.items()
    ):
        raise ValueError(f"these are no label features: {', '.join(sorted(arrays))[:200]}")


@dataclass(frozen=True)
class TextBatch:
    """N texts for the text tower.

    The features of a label's texts are brought to unit norm and averaged, as CLIP does; the feature of a
    single text stays as it is, as published.
    """

    texts: list[str]
    """[N]"""
    rows: npt.NDArray[np.int64]
    """[N]: which label each text belongs to."""
    counts: npt.NDArray[np.int64]
    """[N]: how many texts that label has, in all batches together."""
    labels_done: int
    """How many labels are complete with this batch."""


def text_batches(labels: Sequence[Label], templates: Sequence[str]) -> Iterator[TextBatch]:
    """All texts of all labels: a label's own prompts, else the templates, filled with its name and each
    synonym (`Label.texts`)."""
    texts = [(text, row) for row, label in enumerate(labels) for text in label.texts(templates)]
    # Texts of like length share a batch: a long one would pad all others to its length.
    texts.sort(key=lambda pair: len(pair[0]))
    counts = Counter(row for _, row in texts)
    left = counts.copy()
    done = 0
    for start in range(0, len(texts), TEXT_BATCH):
        batch = texts[start : start + TEXT_BATCH]
        rows = [row for _, row in batch]
        for row in rows:
            left[row] -= 1
            done += left[row] == 0
        yield TextBatch(
            [text for text, _ in batch], np.array(rows), np.array([counts[row] for row in rows]), done
        )
