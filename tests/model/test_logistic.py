"""Logistic regression with a prior: its optimum, its prior, and many problems at once."""

import numpy as np
import pytest

from sigrl.model.logistic import fit_logistic

DEVIATIONS = np.array([2.0, 0.5])
PRIOR = np.array([-1.0, 1.0])


def draw(problems: int, examples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(problems, examples))
    features = np.stack([np.ones_like(scores), scores], axis=-1)
    return features, rng.random(scores.shape) < 1 / (1 + np.exp(0.5 - 2 * scores))


def test_fit_logistic_finds_zero_gradient_of_the_posterior() -> None:
    (features,), (targets,) = draw(1, 500)
    found = fit_logistic(features, targets, PRIOR, DEVIATIONS)
    expected = 1 / (1 + np.exp(-features @ found))
    assert features.T @ (expected - targets) + (found - PRIOR) / DEVIATIONS**2 == pytest.approx(0, abs=1e-6)


def test_fit_logistic_without_examples_returns_the_prior() -> None:
    features, targets = draw(2, 10)
    nothing = np.zeros(targets.shape, bool)
    assert fit_logistic(features, targets, PRIOR, DEVIATIONS, nothing) == pytest.approx(
        np.tile(PRIOR, (2, 1))
    )


def test_fit_logistic_solves_batched_problems_independently() -> None:
    features, targets = draw(3, 50)
    counted = np.random.default_rng(1).random(targets.shape) < 0.7
    together = fit_logistic(features, targets, PRIOR, DEVIATIONS, counted)
    for problem in range(3):
        kept = counted[problem]
        alone = fit_logistic(features[problem, kept], targets[problem, kept], PRIOR, DEVIATIONS)
        assert together[problem] == pytest.approx(alone, abs=1e-5)
