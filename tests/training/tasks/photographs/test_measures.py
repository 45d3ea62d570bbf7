"""The consequences of partly known labels for the loss, the weights and the measures."""

from pathlib import Path
from typing import Any

import numpy as np

from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.losses.options import AnLs, Em, Iu
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.measures import assume_negatives, choose_loss, positive_weights


def config(**changes: Any) -> PhotographsConfig:
    return PhotographsConfig.model_validate({"photographs": "photographs", **changes})


def test_loss_is_chosen_by_whether_negatives_are_known() -> None:
    known = np.array([[1, -1], [-1, 1], [0, 0]], dtype=np.int8)
    assert choose_loss(config(), known) == Iu()
    assert choose_loss(config(), np.abs(known)) == AnLs()
    assert choose_loss(config(loss={"kind": "em", "entropy_weight": 0.1}), known) == Em(entropy_weight=0.1)


def test_rare_labels_get_higher_weights_up_to_the_limit() -> None:
    labels = -np.ones((100, 3), dtype=np.int8)
    for column, count in enumerate((50, 20, 1)):
        labels[:count, column] = 1
    assert positive_weights(config(), labels).tolist() == [1, 1, 1]
    balanced = config(balance="inverse_frequency", largest_weight=10)
    assert positive_weights(balanced, labels).tolist() == [1, 4, 10]


def test_positive_only_labels_treat_unknown_as_negative_in_evaluation() -> None:
    labels = np.array([[1, 1], [0, -1], [0, 0]], dtype=np.int8)
    photographs = LabelledPhotographs(tuple(Path(str(n)) for n in range(3)), ("a", "b"), labels)
    assert assume_negatives(photographs).labels.tolist() == [[1, 1], [-1, -1], [-1, 0]]
