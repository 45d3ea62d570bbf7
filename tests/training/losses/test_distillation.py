"""How far a student is from its teacher."""

import numpy as np
import torch

from sigrl.training.losses.distillation import relative_distance, words_divergence


def test_the_distance_is_a_share_of_the_teachers_norm() -> None:
    teacher = torch.randn(3, 4, 5)
    assert relative_distance(teacher, teacher) == 0
    assert relative_distance(torch.zeros_like(teacher), teacher) == 1
    np.testing.assert_allclose(relative_distance(0.5 * teacher, teacher), 0.25, rtol=1e-6)


def test_the_divergence_of_words_is_kullback_and_leiblers() -> None:
    ours, theirs = torch.randn(2, 3, 4, dtype=torch.float64)
    p, q = torch.sigmoid(theirs).numpy(), torch.sigmoid(ours).numpy()
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1).mean()
    np.testing.assert_allclose(words_divergence(ours, theirs), expected, rtol=1e-10)
    assert abs(words_divergence(theirs, theirs)) < 1e-12
