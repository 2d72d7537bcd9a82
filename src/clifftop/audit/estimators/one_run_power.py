"""What one run can show: before it, with which numbers of guesses, and how many canaries an error takes.

Everything here is for planning, on a Gaussian mechanism whose canaries do not disturb each other, with the
best attack: no bound, and no real attack shows more. A bound "expected" is the one from the number of right
guesses that one expects, about the median over repetitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from scipy import special

from clifftop.audit.estimators import one_run
from clifftop.audit.estimators.curves import gaussian_curve
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run_curve import AnyMechanism, CurveAudit, IndependentCanaries
from clifftop.audit.estimators.one_run_family import epsilon_gaussian, gaussian_lower, gaussian_mu
from clifftop.audit.estimators.values import require_confidence
from clifftop.events.base import require_count, require_positive

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Of the canaries, that are tried as numbers of guesses."""
MOST_CANARIES = 1_000_000
CURVE_AUDITS: dict[str, CurveAudit] = {"f-DP": AnyMechanism(), "order statistics": IndependentCanaries()}
PURE = "Steinke"
MEANS = "mean difference"


@final
@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one estimator is expected to show.

    Attributes:
        name: of the estimator.
        spec: the best of the numbers of guesses; None for the one that needs none.
        epsilon: the bound that one expects; 0 is below the detection limit.
        ceiling: the bound if every guess is right.
    """

    name: str
    spec: OneRunSpec | None
    epsilon: float
    ceiling: float


def expected_bounds(
    epsilon: float, *, num_canaries: int, delta: float, confidence: float
) -> tuple[Expected, ...]:
    """For each estimator its best number of guesses, and what it shows of a Gaussian mechanism.

    The numbers of guesses are chosen by the epsilon that is expected, not by a result: take them into the
    run as they are.

    Args:
        epsilon: of the Gaussian mechanism, > 0.
        num_canaries: m.
        delta: at which epsilon is meant, in (0, 1).
        confidence: of the bounds.

    Errors: ValueError.

    >>> for one in expected_bounds(4.0, num_canaries=1000, delta=1e-5, confidence=0.95):
    ...     print(f"{one.name:>16}: {one.epsilon:.2f} of 4, ceiling {one.ceiling:.2f}")
             Steinke: 1.55 of 4, ceiling 2.76
                f-DP: 2.32 of 4, ceiling 5.55
    order statistics: 3.37 of 4, ceiling 18.59
     mean difference: 3.46 of 4, ceiling inf
    """
    require_positive("epsilon", epsilon, advice="plan for an epsilon that is claimed")
    mu = gaussian_mu(epsilon, delta)
    specs = specs_to_try(num_canaries)
    rights = [expected_correct(mu, spec) for spec in specs]
    options = {"delta": delta, "confidence": confidence}
    pure = [one_run.epsilon_from_correct(s, right, **options) for s, right in zip(specs, rights, strict=True)]
    found = [_best(PURE, specs, [(b.epsilon, b.detection_limit) for b in pure])]
    for name, audit in CURVE_AUDITS.items():
        bounds = [
            epsilon_gaussian(audit, s, right, **options) for s, right in zip(specs, rights, strict=True)
        ]
        found.append(_best(name, specs, [(b.epsilon, b.detection_limit) for b in bounds]))
    shown = gaussian_lower(max(0.0, mu - _error_of_mu(mu, num_canaries, confidence)), delta)
    return (*found, Expected(name=MEANS, spec=None, epsilon=shown, ceiling=math.inf))


def expected_correct(mu: float, spec: OneRunSpec) -> int:
    """How many guesses the best attack on a Gaussian mechanism has right, in the mean, rounded.

    >>> expected_correct(1.0, OneRunSpec(num_canaries=1000, guesses_in=50, guesses_out=50))
    90
    """
    return round(IndependentCanaries().expected_correct(gaussian_curve(mu), spec))


def specs_to_try(num_canaries: int) -> tuple[OneRunSpec, ...]:
    """As many guesses on each side, about `SHARES` of the canaries in all."""
    require_count("num_canaries", num_canaries)
    each = sorted({max(1, round(0.5 * share * num_canaries)) for share in SHARES})
    return tuple(
        OneRunSpec(num_canaries=num_canaries, guesses_in=k, guesses_out=k)
        for k in each
        if 2 * k <= num_canaries
    )


def canaries_needed(
    factor: float, *, audit: CurveAudit | None, epsilon: float, delta: float, confidence: float
) -> int | None:
    """How many canaries refute a claim whose noise is too small by ``factor``, about every other time.

    Args:
        factor: claimed over true noise: 1.05, 1.2 or 2.
        audit: the test of the claimed curve; None for the mean difference.
        epsilon: claimed, of a Gaussian mechanism.
        delta: of the claim.
        confidence: of the test.

    Returns:
        The number, to about 5%; None where `MOST_CANARIES` do not suffice.

    >>> canaries_needed(2.0, audit=IndependentCanaries(), epsilon=4.0, delta=1e-5, confidence=0.95)
    30
    """
    mu = gaussian_mu(epsilon, delta)
    if audit is None:
        return _needed_by_means(mu, factor, confidence)
    return _needed_by_guesses(audit, mu, factor, tail=1.0 - require_confidence(confidence))


def _needed_by_guesses(audit: CurveAudit, mu: float, factor: float, *, tail: float) -> int | None:
    def suffice(m: int) -> bool:
        return any(
            audit.refutes(gaussian_curve(mu), spec, expected_correct(factor * mu, spec), tail=tail)
            for spec in specs_to_try(m)
        )

    high = 4
    while not suffice(high):
        high *= 2
        if high > MOST_CANARIES:
            return None
    low = high // 2
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if suffice(middle) else (middle, high)
    return high


def _needed_by_means(mu: float, factor: float, confidence: float) -> int | None:
    high = 4
    while factor * mu - _error_of_mu(factor * mu, high, confidence) <= mu:
        high = math.ceil(1.05 * high)
        if high > MOST_CANARIES:
            return None
    return high


def _error_of_mu(mu: float, num_canaries: int, confidence: float) -> float:
    """Half the width of the mean difference's interval, with half of the canaries included."""
    spread = math.sqrt(4.0 / num_canaries + 0.5 * mu * mu / num_canaries)
    return float(special.ndtri(confidence)) * spread


def _best(name: str, specs: tuple[OneRunSpec, ...], shown: list[tuple[float, float]]) -> Expected:
    place = max(range(len(specs)), key=lambda i: shown[i])
    return Expected(name=name, spec=specs[place], epsilon=shown[place][0], ceiling=shown[place][1])
