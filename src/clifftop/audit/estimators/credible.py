r"""Bayesian second columns: what a prior and the counts make probable. Credible, not confidence, limits.

A credible limit holds with the stated probability *on average over the prior*, not for each truth: at some
true rates it fails more often than a confidence limit may. It is sharper than Clopper's and Pearson's, and it
refutes nothing here. Rates have Jeffreys' prior Beta(1/2, 1/2), independent of each other, so that after k of
n they are Beta(k + 1/2, n - k + 1/2).

`epsilon_jeffreys` takes half of the error for each rate, as the exact way does; `epsilon_jointly_credible`
takes the posterior of epsilon itself, the probability of all pairs of rates that break a smaller claim
(Zanella-Beguelin et al. 2023, "Bayesian estimation of differential privacy", arXiv 2206.05199).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from clifftop.audit.estimators.thresholds import BOTH_ORDERS, INDEPENDENT, NOT_SHOWN
from clifftop.audit.estimators.values import (
    Array,
    Counts,
    LowerBound,
    require_audit_delta,
    require_confidence,
)

PRIOR = "a priori both rates are Beta(1/2, 1/2); the limit is credible under that prior, no confidence limit"
NODES = 1000
PRECISION = 1e-4
LARGEST = 64.0


def epsilon_jeffreys(counts: Counts, *, delta: float, confidence: float) -> LowerBound:
    """``ln((TPR_low - delta) / FPR_high)`` with Jeffreys' limits, half of the error each; heuristic.

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> f"{epsilon_jeffreys(counts, delta=1e-5, confidence=0.95).epsilon:.3f}"  # the exact way: 1.990
    '1.995'
    """
    tail = 0.5 * (1.0 - require_confidence(confidence))
    delta = require_audit_delta(delta)

    def shown(some: Counts) -> float:
        low = float(_quantiles(some.true_positives, some.present, np.asarray(tail)))
        high = float(_quantiles(some.false_positives, some.absent, np.asarray(1.0 - tail)))
        return max(0.0, math.log((low - delta) / high)) if low > delta else 0.0

    return _bound(shown(counts), shown(_perfect(counts)), delta=delta, confidence=confidence)


def epsilon_jointly_credible(counts: Counts, *, delta: float, confidence: float) -> LowerBound:
    """The epsilon that the true one exceeds with posterior probability ``confidence``; heuristic.

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> f"{epsilon_jointly_credible(counts, delta=1e-5, confidence=0.95).epsilon:.3f}"
    '2.109'
    """
    confidence, delta = require_confidence(confidence), require_audit_delta(delta)
    best = _shown_jointly(_perfect(counts), delta, confidence)
    return _bound(_shown_jointly(counts, delta, confidence), best, delta=delta, confidence=confidence)


def probability_above(counts: Counts, *, epsilon: float, delta: float) -> float:
    """Posterior probability that no (epsilon, delta)-private mechanism has these rates."""
    places = (np.arange(NODES) + 0.5) / NODES
    false = _quantiles(counts.false_positives, counts.absent, places)
    factor = math.exp(epsilon)
    allowed = np.maximum(1.0 - delta - factor * false, (1.0 - delta - false) / factor)
    misses = counts.present - counts.true_positives
    allowed = np.clip(allowed, 0.0, 1.0)
    return float(special.betainc(misses + 0.5, counts.true_positives + 0.5, allowed).mean())


def _shown_jointly(counts: Counts, delta: float, confidence: float) -> float:
    if probability_above(counts, epsilon=0.0, delta=delta) < confidence:
        return 0.0
    low, high = 0.0, 1.0
    while probability_above(counts, epsilon=high, delta=delta) >= confidence and high < LARGEST:
        low, high = high, 2.0 * high
    while high - low > PRECISION * high:
        middle = 0.5 * (low + high)
        above = probability_above(counts, epsilon=middle, delta=delta) >= confidence
        low, high = (middle, high) if above else (low, middle)
    return low


def _quantiles(successes: int, trials: int, places: Array) -> Array:
    """Of the posterior of a rate."""
    return np.asarray(special.betaincinv(successes + 0.5, trials - successes + 0.5, places))


def _perfect(counts: Counts) -> Counts:
    return Counts(
        true_positives=counts.present, present=counts.present, false_positives=0, absent=counts.absent
    )


def _bound(epsilon: float, best: float, *, delta: float, confidence: float) -> LowerBound:
    return LowerBound(
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        assumptions=(PRIOR, NOT_SHOWN, INDEPENDENT, BOTH_ORDERS),
        detection_limit=max(epsilon, best),
    )
