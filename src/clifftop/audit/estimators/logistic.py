"""Logistic regression: attacks that are learned from examples of both kinds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from clifftop.audit.estimators.values import Array

RIDGE = 1.0
NEWTON_STEPS = 12


def fit_logistic(x: Array, labels: NDArray[np.bool_]) -> Array:
    """``(F,)`` weights of ridge-penalised logistic regression, by Newton's method with halved steps.

    Args:
        x: ``(n, F)`` features of about unit scale; the first is a column of ones and is not penalised.
        labels: ``(n,)`` what is to be told.

    >>> x = np.array([[1.0, -1.0], [1.0, 1.0], [1.0, 2.0], [1.0, -2.0]])
    >>> weights = fit_logistic(x, np.array([False, True, True, False]))
    >>> bool(weights[1] > 0.5), bool(abs(weights[0]) < 1e-6)
    (True, True)
    """
    y = labels.astype(np.float64)
    penalty = np.full(x.shape[1], RIDGE)
    penalty[0] = 1e-6
    weights = np.zeros(x.shape[1])

    def loss(w: Array) -> float:
        margins = x @ w
        return float(np.logaddexp(0.0, margins).sum() - margins @ y + 0.5 * (penalty * w * w).sum())

    best = loss(weights)
    for _ in range(NEWTON_STEPS):
        chances = special.expit(x @ weights)
        gradient = x.T @ (chances - y) + penalty * weights
        curvature = (x.T * (chances * (1.0 - chances))) @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-3 and loss(weights - size * step) > best:
            size *= 0.5
        found = loss(weights - size * step)
        if found >= best * (1.0 - 1e-6):
            break
        weights, best = weights - size * step, found
    return weights
