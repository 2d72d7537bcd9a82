"""Exact limits on a probability from a count (Clopper and Pearson 1934).

The chance that the truth lies outside is at most one minus the confidence, whatever the truth is and however
few the trials are. Limits are rounded outward by a relative `ROUNDING`, far above the error of the inverse
beta function.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from clifftop.audit.estimators.values import Array, require_confidence, require_share_of

ROUNDING = 1e-10


def lower_limit(successes: int, trials: int, *, confidence: float) -> float:
    """One-sided: with probability ``confidence`` or more, the chance of success is at least this.

    Errors: ValueError.

    >>> f"{lower_limit(10, 10, confidence=0.95):.4f}"  # 0.05 ** (1 / 10)
    '0.7411'
    """
    require_share_of("successes", successes, "trials", trials)
    return float(lower_limits(successes, trials, tail=1.0 - require_confidence(confidence)))


def upper_limit(successes: int, trials: int, *, confidence: float) -> float:
    """One-sided: with probability ``confidence`` or more, the chance of success is at most this.

    Errors: ValueError.

    >>> f"{upper_limit(0, 100, confidence=0.95):.4f}"  # the rule of three
    '0.0295'
    """
    require_share_of("successes", successes, "trials", trials)
    return float(upper_limits(successes, trials, tail=1.0 - require_confidence(confidence)))


def two_sided_limits(successes: int, trials: int, *, confidence: float) -> tuple[float, float]:
    """Two-sided: half of what the confidence leaves goes to each side.

    Errors: ValueError.

    >>> ["%.4f" % limit for limit in two_sided_limits(5, 10, confidence=0.95)]
    ['0.1871', '0.8129']
    """
    one_sided = 0.5 * (1.0 + require_confidence(confidence))
    return (
        lower_limit(successes, trials, confidence=one_sided),
        upper_limit(successes, trials, confidence=one_sided),
    )


def lower_limits(successes: ArrayLike, trials: ArrayLike, *, tail: float) -> Array:
    """`lower_limit` for many counts at once, unchecked; ``tail`` is one minus the confidence."""
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    limits = special.betaincinv(np.maximum(k, 1.0), n - k + 1.0, tail)
    return np.where(k == 0, 0.0, limits * (1.0 - ROUNDING))


def upper_limits(successes: ArrayLike, trials: ArrayLike, *, tail: float) -> Array:
    """`upper_limit` for many counts at once, unchecked."""
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    limits = special.betainccinv(k + 1.0, np.maximum(n - k, 1.0), tail)
    return np.where(k == n, 1.0, np.minimum(1.0, limits * (1.0 + ROUNDING)))
