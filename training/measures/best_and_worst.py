"""Single photographs under a model: which it knows best and worst, and what it says of them."""

import numpy as np
import numpy.typing as npt

from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.measures.metrics import average_precision_of_known
from sigrl.training.measures.report import JudgedPhotograph, JudgedTag

SHOWN_PHOTOGRAPHS = 6
SHOWN_TAGS = 5


def best_and_worst(
    scores: npt.NDArray[np.floating],
    probabilities: npt.NDArray[np.floating],
    photographs: LabelledPhotographs,
) -> tuple[list[JudgedPhotograph], list[JudgedPhotograph]]:
    """At most 6 photographs each, and none twice, by average precision over the labels of a photograph; among
    equals the one with more labels that hold is the more telling one.

    Only photographs on which some labels are known to hold and others not to: the rest have no such number.
    `scores` and `probabilities` are [N, C].
    """
    labels = photographs.labels
    positives = (labels == 1).sum(axis=1)
    rows = np.flatnonzero((positives > 0) & (labels == -1).any(axis=1))
    precisions = average_precision_of_known(scores[rows].T, labels[rows].T)
    count = min(SHOWN_PHOTOGRAPHS, (len(rows) + 1) // 2)
    best = np.lexsort((-positives[rows], -precisions))[:count]
    rest = np.setdiff1d(np.arange(len(rows)), best)
    worst = rest[np.lexsort((-positives[rows][rest], precisions[rest]))[:count]]

    def judge(index: int) -> JudgedPhotograph:
        row = rows[index]
        known = {1: True, -1: False, 0: None}
        return JudgedPhotograph(
            path=photographs.image_paths[row],
            average_precision=float(precisions[index]),
            true_labels=[photographs.label_names[column] for column in np.flatnonzero(labels[row] == 1)],
            tags=[
                JudgedTag(
                    label=photographs.label_names[column],
                    probability=float(probabilities[row, column]),
                    holds=known[int(labels[row, column])],
                )
                for column in np.argsort(-scores[row], kind="stable")[:SHOWN_TAGS]
            ],
        )

    return [judge(index) for index in best], [judge(index) for index in worst]
