"""Lower bounds on epsilon from one run, for mechanisms whose trade-off curve is one of a stated family.

A curve that is refuted says nothing of epsilon by itself: many curves have the same epsilon. Inside a family
that is ordered, where a larger parameter permits more, all members up to some parameter are refuted, and that
parameter's epsilon is a bound for mechanisms whose curve is, or lies nowhere below, that of the member with
their own epsilon. The family is part of the assumptions that are printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from clifftop.accounting.gdp import gaussian_delta, gaussian_epsilon
from clifftop.audit.estimators.curves import gaussian_curve
from clifftop.audit.estimators.gaussian_dp import FAMILY, METHOD
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run_curve import CurveAudit
from clifftop.audit.estimators.values import (
    LowerBound,
    TradeOffCurve,
    require_audit_delta,
    require_confidence,
    require_share_of,
)

PRECISION = 1e-4
LARGEST_MU = 64.0


def epsilon_gaussian(
    audit: CurveAudit, spec: OneRunSpec, correct: int, *, delta: float, confidence: float
) -> LowerBound:
    """The bound if the curve of each canary is that of a Gaussian mechanism of some mu.

    Args:
        audit: which test refutes curves.
        spec: numbers of canaries and guesses, fixed before the run.
        correct: how many guesses were right.
        delta: at which epsilon is meant, > 0.
        confidence: of the bound.

    Errors: ValueError.

    >>> from clifftop.audit.estimators.one_run_curve import AnyMechanism, IndependentCanaries
    >>> spec = OneRunSpec(num_canaries=1000, guesses_in=50, guesses_out=50)
    >>> for audit in (AnyMechanism(), IndependentCanaries()):
    ...     print(f"{epsilon_gaussian(audit, spec, 97, delta=1e-5, confidence=0.95).epsilon:.2f}")
    3.86
    4.90
    """
    _require(spec, correct, delta)
    mu = largest_mu(audit, spec, correct, confidence=confidence)
    best = largest_mu(audit, spec, spec.num_guesses, confidence=confidence)
    return LowerBound(
        epsilon=gaussian_lower(mu, delta),
        delta=delta,
        confidence=confidence,
        assumptions=(FAMILY, *audit.assumptions),
        detection_limit=gaussian_lower(max(mu, best), delta),
        detail=(*_counted(spec, correct), ("mu", mu)),
    )


def largest_mu(audit: CurveAudit, spec: OneRunSpec, correct: int, *, confidence: float) -> float:
    """The largest mu whose curve is refuted, from below; 0 where none is. Errors: ValueError."""
    tail = 1.0 - require_confidence(confidence)
    return largest_parameter(
        lambda mu: audit.refutes(gaussian_curve(mu), spec, correct, tail=tail), largest=LARGEST_MU
    )


def largest_parameter(refuted: Callable[[float], bool], *, largest: float) -> float:
    """The largest parameter found refuted, to a relative `PRECISION` and up to about ``largest``.

    What is refuted at one parameter must be refuted at each smaller one. 0 where none is.
    """
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2.0 * high
        if high > largest:
            return low
    while high - low > PRECISION * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def epsilon_in_family(
    audit: CurveAudit,
    spec: OneRunSpec,
    correct: int,
    *,
    curve: Callable[[float], TradeOffCurve],
    epsilon: Callable[[float], float],
    start: float,
    delta: float,
    confidence: float,
    family: str,
    precision: float = 0.01,
) -> LowerBound:
    """The bound if each canary's curve is, or lies nowhere below, the member's with the same epsilon.

    Args:
        audit: which test refutes curves.
        spec: numbers of canaries and guesses, fixed before the run.
        correct: how many guesses were right.
        curve: the trade-off curve of the member with this parameter > 0, in both orders, from below; a
            larger parameter permits more. One over the noise multiplier is such a parameter.
        epsilon: the member's epsilon at ``delta``, from below.
        start: the parameter that is claimed.
        delta: at which epsilon is meant.
        confidence: of the bound.
        family: the assumption in words.
        precision: of the parameter, relative.

    Errors: ValueError.
    """
    _require(spec, correct, delta)
    tail = 1.0 - require_confidence(confidence)

    def around(right: int, within: float) -> tuple[float, float]:
        return _largest_from(
            start, lambda value: audit.refutes(curve(value), spec, right, tail=tail), precision=within
        )

    found, _ = around(correct, precision)
    best, beyond = around(spec.num_guesses, 0.1)
    bound = epsilon(found) if found > 0 else 0.0
    ceiling = epsilon(beyond if beyond < math.inf else best) if best > 0 else 0.0
    return LowerBound(
        epsilon=bound,
        delta=delta,
        confidence=confidence,
        assumptions=(family, *audit.assumptions),
        detection_limit=max(bound, ceiling),
        detail=_counted(spec, correct),
    )


def _largest_from(start: float, refuted: Callable[[float], bool], *, precision: float) -> tuple[float, float]:
    """The largest parameter found refuted, around ``start``, 0 where none is; and the next, which is not."""
    low, high = 0.0, math.inf
    value, factor = start, 1.3
    for _ in range(_MOST_BRACKETS):
        if refuted(value):
            low, value = value, value * factor
        else:
            high, value = value, value / factor
        if low > 0 and high < math.inf:
            break
        factor = min(2.0, 1.2 * factor)
    while low > 0 and high < math.inf and high > low * (1.0 + precision):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low, high


_MOST_BRACKETS = 10


def gaussian_lower(mu: float, delta: float) -> float:
    """The largest epsilon that certainly is not above that of ``mu`` at ``delta``."""
    if mu <= 0 or gaussian_delta(mu, 0.0, method=METHOD).lower <= delta:
        return 0.0
    return gaussian_epsilon(mu, delta, method=METHOD).lower


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The mu whose Gaussian mechanism has this epsilon at ``delta``, to about 1e-6; for planning.

    >>> f"{gaussian_mu(4.377, 1e-5):.3f}"
    '1.000'
    """
    low, high = 0.0, 1.0
    while gaussian_lower(high, delta) < epsilon:
        high *= 2.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gaussian_lower(middle, delta) < epsilon else (low, middle)
    return 0.5 * (low + high)


def _require(spec: OneRunSpec, correct: int, delta: float) -> None:
    require_share_of("correct", correct, "num_guesses", spec.num_guesses)
    if require_audit_delta(delta) == 0:
        raise ValueError("delta must be > 0 for these families, found delta=0; take the claim's")


def _counted(spec: OneRunSpec, correct: int) -> tuple[tuple[str, float], ...]:
    return (
        ("canaries", float(spec.num_canaries)),
        ("guesses", float(spec.num_guesses)),
        ("correct", float(correct)),
    )
