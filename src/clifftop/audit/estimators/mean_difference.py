r"""A lower bound on epsilon from the scores themselves instead of guesses: two Gaussians, one run or many.

The scores of canaries that were included are taken as ``N(a + mu s, s^2)``, those of the others as
``N(a, s^2)``, all independent. Then, with sizes k and l and ``w = sqrt(1 / k + 1 / l)``,

* if s is known, ``(difference of means) / (s w)`` is ``N(mu / w, 1)``, and the bound on mu is exact;
* if not, with the pooled standard deviation in its place it has Student's noncentral law with k + l - 2
  degrees of freedom and noncentrality ``mu / w``, and the bound, its inversion, is exact as well.

Exact for exactly Gaussian scores: the Gaussian mechanism without sampling, each canary on an axis of its own.
For sums over many steps of a sampled mechanism, or for losses, the law is Gaussian in the limit only ("Let's
ask Gauss", Agrawal et al. 2026, arXiv 2606.12733, uses that limit): there the confidence is about right, not
guaranteed, and the result is to be shown as heuristic. Scores with heavy tails, or with another spread among
those included, can break it at any size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from clifftop.audit.estimators.gaussian_dp import FAMILY
from clifftop.audit.estimators.one_run_family import gaussian_lower, largest_parameter
from clifftop.audit.estimators.values import (
    Array,
    LowerBound,
    require_audit_delta,
    require_confidence,
    require_scores,
)
from clifftop.events.base import require_positive

GAUSSIAN = "scores are Gaussian with one spread, independent, and those included differ in their mean only"
LARGEST_MU = 64.0
NODES = 1000
"""Of the law of the pooled standard deviation, dense where it is small, as that decides at few scores."""


def epsilon_from_means(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float,
    confidence: float,
    spread: float | None = None,
) -> LowerBound:
    """The bound from all scores and coins; no number of guesses is to be chosen.

    Args:
        scores: ``(m,)``, finite, higher for what seems to be included.
        included: ``(m,)`` booleans, at least two of each kind.
        delta: at which epsilon is meant, > 0.
        confidence: of the bound.
        spread: the standard deviation of each score, if it is known; else it is estimated.

    Errors: ValueError.

    >>> rng = np.random.default_rng(2)
    >>> coins = rng.integers(0, 2, 1000).astype(bool)
    >>> scores = rng.normal(size=1000) + coins  # 1-Gaussian privacy: epsilon 4.377 at 1e-5
    >>> print(epsilon_from_means(scores, coins, delta=1e-5, confidence=0.95))
    epsilon >= 4.193 at delta=1e-05, confidence 0.95
    """
    with_canary, without = _split(scores, included)
    if require_audit_delta(delta) == 0:
        raise ValueError("delta must be > 0 for a Gaussian mechanism, found delta=0; take the claim's")
    known = None if spread is None else require_positive("spread", spread, advice="give a standard deviation")
    tail = 1.0 - require_confidence(confidence)
    mu = max(0.0, _mu(with_canary, without, spread=known, tail=tail))
    return LowerBound(
        epsilon=gaussian_lower(mu, delta),
        delta=delta,
        confidence=confidence,
        assumptions=(FAMILY, GAUSSIAN),
        detection_limit=math.inf,  # means can differ by any number of spreads
        detail=(("included", float(with_canary.size)), ("left out", float(without.size)), ("mu", mu)),
    )


def _mu(with_canary: Array, without: Array, *, spread: float | None, tail: float) -> float:
    """The lower limit on mu, by the normal law or by Student's noncentral one."""
    width = math.sqrt(1.0 / with_canary.size + 1.0 / without.size)
    difference = float(with_canary.mean() - without.mean())
    if spread is not None:
        return difference / spread + width * float(special.ndtri(tail))
    free = with_canary.size + without.size - 2
    squares = float(((with_canary - with_canary.mean()) ** 2).sum() + ((without - without.mean()) ** 2).sum())
    if squares == 0:
        return LARGEST_MU if difference > 0 else 0.0
    shown = difference / (math.sqrt(squares / free) * width)
    nodes = (np.arange(NODES) + 0.5) / NODES
    places, weights = nodes**4, 4.0 * nodes**3 / NODES
    ratios = np.sqrt(special.gammaincinv(0.5 * free, places) * (2.0 / free))
    return largest_parameter(
        lambda mu: float(weights @ special.ndtr(mu / width - shown * ratios)) <= tail, largest=LARGEST_MU
    )


def _split(scores: ArrayLike, included: ArrayLike) -> tuple[Array, Array]:
    values, coins = require_scores("scores", scores), np.asarray(included)
    if coins.shape != values.shape or coins.dtype != np.bool_:
        raise ValueError(
            f"included must be one boolean a score, found shape={coins.shape} dtype={coins.dtype}; "
            "hand over the coins as drawn"
        )
    with_canary, without = values[coins], values[~coins]
    if min(with_canary.size, without.size) < 2 or not bool(np.isfinite(values).all()):
        raise ValueError(
            "means need two finite scores of each kind, found "
            f"included={with_canary.size} left_out={without.size} "
            f"infinite={int((~np.isfinite(values)).sum())}; use more canaries, or count guesses"
        )
    return with_canary, without
