r"""Is a claimed trade-off curve refuted by the counts of one test? Exact at any number of runs.

A mechanism that keeps the claim f (no test at false-positive rate a misses less than f(a)) gives a test with
a false-positive rate a and a miss rate of at least f(a). False positives and misses are independent
binomial counts, so at the true a

    p_1(a) = P[Bin(absent, a) <= false positives],    p_2(a) = P[Bin(present, f(a)) <= misses]

are independent and each is at most u with probability at most u; their product is at most c with probability
at most ``c (1 - ln c)`` (Fisher's method for two). The p-value is the largest such number over *all* a, which
is at least that at the true a. This pays for both counts at once, and so shows more than two intervals of
half the error each.

The largest product is enclosed without any assumption but that f does not rise: between l and r,
``p_1 <= p_1(l)`` and ``p_2 <= p_2(r)``; the interval with the largest bound is halved until the bound is
within `TOLERANCE` of a value that is attained, or the decision is clear.

The same holds where the threshold is an order statistic of the scores without canary, with its rank fixed
beforehand: ``p_1`` is then uniform for continuous scores, larger for ties, and ``p_2`` is as above given the
threshold.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from scipy import special

from clifftop.audit.estimators.values import (
    Counts,
    TradeOffCurve,
    require_audit_delta,
    require_confidence,
)

TOLERANCE = 1e-2
MOST_HALVINGS = 2000
ROUNDING = 1e-9
"""The binomial laws are computed to about 1e-12; p-values are widened by this."""
PRECISION = 1e-4
LARGEST = 1e3


@final
@dataclass(frozen=True, kw_only=True)
class CurveTest:
    """The verdict on a claimed trade-off curve.

    Attributes:
        refuted: whether the claim is false at ``confidence``: a true claim is refuted with probability at
            most one minus that.
        p_value: an upper bound on it, about 1% too large at most.
        largest_refuted: the largest epsilon of the family that is refuted; 0 where none is, or none given.
    """

    refuted: bool
    p_value: float
    confidence: float
    counts: Counts
    largest_refuted: float


def against_curve(
    trade_off: TradeOffCurve,
    counts: Counts,
    *,
    confidence: float,
    family: Sequence[tuple[float, TradeOffCurve]] = (),
) -> CurveTest:
    """Test a claimed curve by the counts of a test that was fixed before the runs. No family is assumed.

    Args:
        trade_off: ``beta(alpha)``, which must not rise; for a certified claim the lower end, such as
            ``lambda alpha: TradeOff(profile).type_two_error(alpha).lower``. Where it is not its own inverse,
            "absent" is the null hypothesis.
        counts: of a threshold fixed beforehand, chosen on other runs, or at a rank fixed beforehand.
        confidence: one minus the chance to refute a true claim.
        family: pairs (epsilon, curve), as of one accountant at several noise levels. They are tested from
            the smallest epsilon up to the first that is not refuted, which needs no correction: to go too
            far, the first true one must be refuted. `CurveTest.largest_refuted` is a lower bound on epsilon
            only if the mechanism's own curve is, or lies nowhere below, the member's with its own epsilon.

    Errors: ValueError where the curve leaves [0, 1].

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> [against_curve(gaussian_curve(mu), counts, confidence=0.95).refuted for mu in (1.0, 2.56)]
    [True, False]
    """
    tail = 1.0 - require_confidence(confidence)
    largest = 0.0
    for epsilon, curve in sorted(family, key=lambda member: member[0]):
        if not refutes(curve, counts, tail=tail):
            break
        largest = epsilon
    return CurveTest(
        refuted=refutes(trade_off, counts, tail=tail),
        p_value=p_value(trade_off, counts),
        confidence=confidence,
        counts=counts,
        largest_refuted=largest,
    )


def p_value(trade_off: TradeOffCurve, counts: Counts) -> float:
    """An upper bound on the p-value of the claim, about 1% too large at most; see the module's text."""
    return _enclose(trade_off, counts, decided=_never)[1]


def refutes(trade_off: TradeOffCurve, counts: Counts, *, tail: float) -> bool:
    """Whether the p-value is at most ``tail``, for certain; quicker than `p_value`."""
    return _enclose(trade_off, counts, decided=lambda low, high: low > tail or high <= tail)[1] <= tail


def largest_refuted(family: Callable[[float], TradeOffCurve], counts: Counts, *, tail: float) -> float:
    """The largest parameter whose curve is refuted, for curves that fall as it grows; 0 where none is.

    A lower curve has a larger p-value, so what is refuted at some parameter is refuted at each smaller one:
    the result exceeds the truth only where the true claim is refuted. Found to a relative `PRECISION`, from
    below; the parameter returned was refuted itself.
    """
    if not refutes(family(0.0), counts, tail=tail):
        return 0.0
    low, high = 0.0, 1.0
    while refutes(family(high), counts, tail=tail):
        low, high = high, 2.0 * high
        if high > LARGEST:
            return low
    while high - low > PRECISION * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refutes(family(middle), counts, tail=tail) else (low, middle)
    return low


def gaussian_curve(mu: float) -> TradeOffCurve:
    """``G_mu(a) = Phi(-Phi^-1(a) - mu)``, the Gaussian mechanism's (Dong, Roth and Su 2022).

    >>> round(gaussian_curve(0.0)(0.3), 12)
    0.7
    """

    def misses(alpha: float) -> float:
        return float(special.ndtr(-special.ndtri(alpha) - mu)) if 0 < alpha < 1 else 1.0 - alpha

    return misses


def approximate_dp_curve(epsilon: float, delta: float) -> TradeOffCurve:
    """``max(0, 1 - delta - e^eps a, e^-eps (1 - delta - a))`` (Wasserman and Zhou 2010; Kairouz et al. 2015).

    >>> approximate_dp_curve(0.0, 0.25)(0.5)
    0.25
    """
    delta = require_audit_delta(delta)

    def misses(alpha: float) -> float:
        steep = 1.0 - delta - (alpha * math.exp(epsilon) if epsilon < 700.0 else math.inf if alpha else 0.0)
        return max(0.0, steep, math.exp(-epsilon) * (1.0 - delta - alpha))

    return misses


def _enclose(
    trade_off: TradeOffCurve, counts: Counts, *, decided: Callable[[float, float], bool]
) -> tuple[float, float]:
    """A lower and an upper bound on the p-value, as near as `TOLERANCE` or as the decision needs."""
    one = _binomial_tail(counts.false_positives, counts.absent)
    two = _binomial_tail(counts.present - counts.true_positives, counts.present)

    def chances(alpha: float) -> tuple[float, float]:
        return one(alpha), two(_checked(trade_off(alpha), alpha))

    left, right = (0.0, chances(0.0)), (1.0, chances(1.0))
    attained = max(left[1][0] * left[1][1], right[1][0] * right[1][1])
    heap = [(-left[1][0] * right[1][1], left, right)]
    for _ in range(MOST_HALVINGS):
        bound, left, right = heap[0]
        low, high = _fisher(attained), _fisher(-bound)
        if high <= low * (1.0 + TOLERANCE) or decided(low, high):
            break
        middle = 0.5 * (left[0] + right[0])
        centre = (middle, chances(middle))
        attained = max(attained, centre[1][0] * centre[1][1])
        heapq.heapreplace(heap, (-left[1][0] * centre[1][1], left, centre))
        heapq.heappush(heap, (-centre[1][0] * right[1][1], centre, right))
    return _fisher(attained), min(1.0, _fisher(max(attained, -heap[0][0])) * (1.0 + ROUNDING))


def _never(_low: float, _high: float) -> bool:
    return False


def _binomial_tail(successes: int, trials: int) -> Callable[[float], float]:
    """``P[Bin(trials, chance) <= successes]`` as a function of the chance."""
    if successes == trials:
        return lambda _: 1.0
    return lambda chance: float(special.betaincc(successes + 1, trials - successes, chance))


def _fisher(product: float) -> float:
    """The chance that two independent uniform numbers have at most this product."""
    return 0.0 if product <= 0 else 1.0 if product >= 1 else product * (1.0 - math.log(product))


def _checked(misses: float, alpha: float) -> float:
    if not 0 <= misses <= 1:
        raise ValueError(
            f"a trade-off curve must stay in [0, 1], found beta({alpha!r})={misses!r}; "
            "give beta(alpha), the least chance to miss a present canary"
        )
    return misses
