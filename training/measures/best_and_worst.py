"""The photographs that a model tags best and worst, with their tags."""

import numpy as np
import numpy.typing as npt

from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.measures.metrics import average_precision_of_known
from sigrl.training.measures.report import EvaluatedPhotograph, EvaluatedTag

SHOWN_PHOTOGRAPHS = 6
SHOWN_TAGS = 5


def best_and_worst(
    scores: npt.NDArray[np.floating],
    probabilities: npt.NDArray[np.floating],
    photographs: LabelledPhotographs,
) -> tuple[list[EvaluatedPhotograph], list[EvaluatedPhotograph]]:
    """At most 6 best and 6 worst photographs, none in both, by average precision over a photograph's labels.
    Among equals, the photograph with more positive labels comes first.

    Only photographs with both positive and negative labels have this measure. `scores` and `probabilities`
    are [N, C].
    """
    labels = photographs.labels
    positives = (labels == 1).sum(axis=1)
    rows = np.flatnonzero((positives > 0) & (labels == -1).any(axis=1))
    precisions = average_precision_of_known(scores[rows].T, labels[rows].T)
    count = min(SHOWN_PHOTOGRAPHS, (len(rows) + 1) // 2)
    best = np.lexsort((-positives[rows], -precisions))[:count]
    rest = np.setdiff1d(np.arange(len(rows)), best)
    worst = rest[np.lexsort((-positives[rows][rest], precisions[rest]))[:count]]

    def evaluated(index: int) -> EvaluatedPhotograph:
        row = rows[index]
        known = {1: True, -1: False, 0: None}
        return EvaluatedPhotograph(
            path=photographs.image_paths[row],
            average_precision=float(precisions[index]),
            true_labels=[photographs.label_names[column] for column in np.flatnonzero(labels[row] == 1)],
            tags=[
                EvaluatedTag(
                    label=photographs.label_names[column],
                    probability=float(probabilities[row, column]),
                    holds=known[int(labels[row, column])],
                )
                for column in np.argsort(-scores[row], kind="stable")[:SHOWN_TAGS]
            ],
        )

    return [evaluated(index) for index in best], [evaluated(index) for index in worst]
