r"""A lower bound on epsilon for mechanisms that are Gaussian, from far fewer runs than rates alone need.

A mechanism is mu-GDP if no test does better than telling ``N(0, 1)`` from ``N(mu, 1)`` (Dong, Roth and Su
2022). One test near the middle bounds mu, and mu gives epsilon at every delta, where the rates at that delta
would take millions of runs to see (Nasr et al. 2023). The step from mu to epsilon assumes that the
mechanism's own curve *is* Gaussian. Where it is not, the number describes a Gaussian mechanism that leaks no
more in the place that was tested, and may well be above the epsilon of the one that was audited: to test a
claim without a family, use `clifftop.audit.estimators.curves.against_curve`.

mu is bounded by the exact joint p-value of `clifftop.audit.estimators.curves`; `mu_from_limits` is the plain
way by two intervals. The threshold is chosen on other runs (`epsilon_held_out`), or it is an order statistic
of the scores without canary whose rank is fixed beforehand (`epsilon_at_rank`): then every run counts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from clifftop.accounting.gdp import gaussian_delta, gaussian_epsilon
from clifftop.audit.estimators.curves import gaussian_curve, largest_refuted
from clifftop.audit.estimators.intervals import lower_limit, upper_limit
from clifftop.audit.estimators.thresholds import (
    HELD_OUT,
    INDEPENDENT,
    NOT_SHOWN,
    Rule,
    by_limits,
    held_out,
)
from clifftop.audit.estimators.values import (
    Array,
    Counts,
    LowerBound,
    require_audit_delta,
    require_confidence,
    require_scores,
)
from clifftop.events.base import is_number

FAMILY = "the mechanism's trade-off curve is that of a Gaussian mechanism of some mu"
RANK = "the rank of the threshold was fixed before any run was scored"
METHOD = "Gaussian DP"


def mu_from_counts(counts: Counts, *, confidence: float) -> float:
    """The largest mu that the counts of one fixed test refute: a lower bound on mu; 0 where none is.

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> f"{mu_from_counts(counts, confidence=0.95):.3f} {mu_from_limits(counts, confidence=0.95):.3f}"
    '2.414 2.347'
    """
    return largest_refuted(gaussian_curve, counts, tail=1.0 - require_confidence(confidence))


def mu_from_limits(counts: Counts, *, confidence: float) -> float:
    """``Phi^-1(TPR_lower) - Phi^-1(FPR_upper)``, at least 0, by limits with half of the error each."""
    one_sided = 0.5 * (1.0 + require_confidence(confidence))
    low = lower_limit(counts.true_positives, counts.present, confidence=one_sided)
    high = upper_limit(counts.false_positives, counts.absent, confidence=one_sided)
    return max(0.0, float(special.ndtri(low) - special.ndtri(high)))


def epsilon_from_counts(
    counts: Counts, *, delta: float, confidence: float, assumptions: tuple[str, ...] = (NOT_SHOWN,)
) -> LowerBound:
    """The bound from one test that was fixed before these runs, by `mu_from_counts`.

    Errors: ValueError unless ``0 < delta < 1``: at delta 0 no Gaussian mechanism has a finite epsilon.

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> print(epsilon_from_counts(counts, delta=1e-5, confidence=0.95))
    epsilon >= 12.63 at delta=1e-05, confidence 0.95 (at most 39.29 could have been shown)
    """
    mu = mu_from_counts(counts, confidence=confidence)
    epsilon = _epsilon(mu, delta)
    ceiling = _ceiling(counts.present, counts.absent, delta=delta, confidence=confidence)
    return LowerBound(
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        assumptions=(FAMILY, *assumptions, INDEPENDENT),
        detection_limit=max(epsilon, ceiling),
        detail=(("mu", mu),),
    )


def epsilon_held_out(
    present: ArrayLike,
    absent: ArrayLike,
    *,
    delta: float,
    confidence: float,
    rng: np.random.Generator,
    share: float = 0.5,
) -> LowerBound:
    """The bound with a threshold chosen on a random ``share`` of the runs, judged on the rest.

    Arguments and errors as `clifftop.audit.estimators.thresholds.epsilon_held_out` has them.
    """
    merit = by_limits(_mu, confidence=confidence)
    held = held_out(present, absent, merit=merit, rng=rng, share=share)
    return epsilon_from_counts(held.counts, delta=delta, confidence=confidence, assumptions=(HELD_OUT,))


def epsilon_at_rank(
    present: ArrayLike, absent: ArrayLike, *, false_positive_rate: float, delta: float, confidence: float
) -> LowerBound:
    """The bound at the order statistic of ``absent`` above which this share of it lies; no run is held out.

    Args:
        present: ``(n,)`` scores of runs with the canary, higher for what seems to be present.
        absent: ``(m,)`` scores of runs without it.
        false_positive_rate: in (0, 1), fixed before any run was scored; it gives the rank. About 0.2 is
            best for a small mu, smaller for a large one.
        delta: at which epsilon is meant.
        confidence: of the bound.

    Errors: ValueError.
    """
    counts = counts_at_rank(present, absent, false_positive_rate=false_positive_rate)
    return epsilon_from_counts(counts, delta=delta, confidence=confidence, assumptions=(RANK,))


def counts_at_rank(present: ArrayLike, absent: ArrayLike, *, false_positive_rate: float) -> Counts:
    """The counts above the order statistic of ``absent`` with ``round(rate m)`` scores above it.

    False positives are counted as if no scores tied, which can only weaken the test. Errors: ValueError.

    >>> counts_at_rank([2.0, 3.5, 4.5], [1.0, 2.0, 3.0, 4.0], false_positive_rate=0.25)
    Counts(true_positives=2, present=3, false_positives=1, absent=4)
    """
    if not is_number(false_positive_rate) or not 0 < false_positive_rate < 1:
        raise ValueError(
            "false_positive_rate must be a number in (0, 1), found "
            f"false_positive_rate={false_positive_rate!r}; fix it before the runs"
        )
    with_canary, without = require_scores("present", present), require_scores("absent", absent)
    above = min(round(false_positive_rate * without.size), without.size - 1)
    threshold = float(np.partition(without, without.size - 1 - above)[without.size - 1 - above])
    counts = Rule(threshold=threshold).counts(with_canary, without)
    return Counts(
        true_positives=counts.true_positives,
        present=counts.present,
        false_positives=above,
        absent=counts.absent,
    )


def power(*, present: int, absent: int, delta: float, confidence: float) -> float:
    """What a perfect attack would show with this many runs that it is judged by: the ceiling.

    `epsilon_at_rank` is judged by all runs, `epsilon_held_out` by those that nothing is chosen on.

    >>> f"{power(present=50, absent=50, delta=1e-5, confidence=0.95):.2f}"
    '19.34'
    """
    return _ceiling(present, absent, delta=delta, confidence=confidence)


def expected_power(
    mu: float, *, runs: int, false_positive_rate: float, delta: float, confidence: float
) -> float:
    """Roughly what a Gaussian mechanism of ``mu`` would show with ``runs`` on each side, at this rank.

    The bound from the counts that one expects: about the median over repetitions. Errors: ValueError.
    """
    wrong = min(round(false_positive_rate * runs), runs - 1)
    tpr = float(special.ndtr(mu + special.ndtri(false_positive_rate)))
    counts = Counts(true_positives=round(tpr * runs), present=runs, false_positives=wrong, absent=runs)
    return epsilon_from_counts(counts, delta=delta, confidence=confidence).epsilon


def _mu(low: Array, high: Array) -> Array:
    with np.errstate(invalid="ignore"):
        merits = special.ndtri(low) - special.ndtri(high)
    return np.where(np.isnan(merits), -math.inf, merits)


def _epsilon(mu: float, delta: float) -> float:
    """The largest epsilon that certainly is not above that of ``mu`` at ``delta``."""
    require_audit_delta(delta)
    if delta == 0:
        raise ValueError("delta must be > 0 for a Gaussian mechanism, found delta=0; take the claim's")
    if mu <= 0 or gaussian_delta(mu, 0.0, method=METHOD).lower <= delta:
        return 0.0
    return gaussian_epsilon(mu, delta, method=METHOD).lower


def _ceiling(present: int, absent: int, *, delta: float, confidence: float) -> float:
    perfect = Counts(true_positives=present, present=present, false_positives=0, absent=absent)
    return _epsilon(mu_from_counts(perfect, confidence=confidence), delta)
