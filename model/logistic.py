"""Logistic regression with a normal prior, for one problem or many at once. Imports without torch."""

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.float64]

_STEPS = 50
_PRECISION = 1e-6
_LARGEST_STEP = 1.0
_LARGEST_LOGIT = 40.0


def fit_logistic(
    features: Wide,
    targets: npt.NDArray[np.bool_],
    prior_mean: Wide,
    prior_deviations: Wide,
    weights: npt.NDArray[np.bool_] | None = None,
) -> Wide:
    """The likeliest coefficients [..., F] given a normal prior [F], by Newton's method from the prior's mean.

    `features` [..., M, F] and `targets` [..., M] are M examples of each problem; only those where `weights`
    [..., M] is true count, by default all.
    """
    counted = np.ones(targets.shape, bool) if weights is None else weights
    precision = 1 / prior_deviations**2
    coefficients = np.broadcast_to(prior_mean, (*features.shape[:-2], features.shape[-1])).copy()
    for _ in range(_STEPS):
        logits = (features @ coefficients[..., None])[..., 0]
        expected = 1 / (1 + np.exp(-np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT)))
        error, curvature = counted * (expected - targets), counted * expected * (1 - expected)
        gradient = (features.mT @ error[..., None])[..., 0] + precision * (coefficients - prior_mean)
        hessian = features.mT @ (curvature[..., None] * features) + np.diag(precision)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        step = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        coefficients = coefficients - step
        if np.abs(step).max() < _PRECISION:
            break
    return coefficients
