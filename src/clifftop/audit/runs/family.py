"""A lower bound on epsilon within one family: the claimed mechanism at any noise multiplier.

The trade-off curves of one sampling probability and number of steps fall as the noise gets less, so there
is a largest noise at which the counts no longer refute the curve, and each larger one is refuted. Its
epsilon is a lower bound on that of the training *if the training's own curve is, or lies nowhere below, that
of the member with the training's own epsilon*: then that member is refuted with no larger chance. For any
other training the number says only that it leaks more than a member with this epsilon does, at the place that
was tested, and its own epsilon can be less: randomised response of epsilon 1 tells as much in the middle as
Gaussian noise of epsilon 5.6, and nothing more in the tails.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

from clifftop.accounting import delta
from clifftop.audit.estimators.curves import approximate_dp_curve, refutes
from clifftop.audit.estimators.thresholds import INDEPENDENT
from clifftop.audit.estimators.values import Counts, LowerBound, TradeOffCurve, require_confidence
from clifftop.audit.runs.certified import certified_curve
from clifftop.audit.runs.claim import TrainingClaim

FAMILY = (
    "the training's trade-off curve is, or lies nowhere below, that of Poisson-sampled Gaussian noise at the "
    "claimed sampling probability and number of steps, at the noise multiplier with the training's epsilon"
)
LEAST, MOST = 0.01, 100.0
"""Epsilons below are not shown, those beyond not told apart."""
PRECISION = 1e-3
"""Of the noise multiplier, relative."""
COARSE = 0.1
POINTS = 48
FIRST_FACTOR = 1.25


@final
class NoiseFamily:
    """The curves of one claim at other noise multipliers; each is made once.

    Args:
        claim: whose sampling probability, steps, delta and relation are meant.
    """

    def __init__(self, claim: TrainingClaim) -> None:
        self._claim = claim
        self.curve = functools.lru_cache(maxsize=None)(self._curve)
        self.epsilon = functools.lru_cache(maxsize=None)(self._epsilon)
        self.limit = functools.lru_cache(maxsize=None)(self._limit)

    def bound(
        self, tests: Sequence[Counts], *, confidence: float, assumptions: tuple[str, ...] = ()
    ) -> LowerBound:
        """The epsilon of the least noise that is refuted by one of ``tests``, each at its share of the error.

        Args:
            tests: counts of tests that were fixed before the runs that they count.
            confidence: of the bound.
            assumptions: to be told besides the family and independence.

        Errors: ValueError.
        """
        multiplier = self._least_refuted(tests, confidence=confidence)
        epsilon = self.epsilon(multiplier) if multiplier < math.inf else 0.0
        limit = self.limit(tests[0].present, tests[0].absent, len(tests), confidence)
        return LowerBound(
            epsilon=epsilon,
            delta=self._claim.delta,
            confidence=confidence,
            assumptions=(FAMILY, *assumptions, INDEPENDENT),
            detection_limit=max(epsilon, limit),
            detail=(("noise_multiplier", min(multiplier, 1e9)), ("tests", float(len(tests)))),
        )

    def _limit(self, present: int, absent: int, tests: int, confidence: float) -> float:
        """What a perfect attack would show by `bound` with these numbers, to `COARSE`, from above."""
        # Of perfect counts the curve's point with equal errors decides, and that is half of 1 - delta(0).
        tail = (1.0 - require_confidence(confidence)) / tests
        perfect = Counts(true_positives=present, present=present, false_positives=0, absent=absent)

        def refuted(multiplier: float) -> bool:
            claim = replace(self._claim, noise_multiplier=multiplier)
            advantage = delta(claim.event, epsilon=0.0, neighboring_relation=claim.relation).lower
            return refutes(approximate_dp_curve(0.0, min(advantage, 1.0 - 1e-12)), perfect, tail=tail)

        stands, found = _least(refuted, self._claim.noise_multiplier, self.epsilon, precision=COARSE)
        return self.epsilon(stands) if found < math.inf else 0.0

    def _least_refuted(self, tests: Sequence[Counts], *, confidence: float) -> float:
        """A noise multiplier that is refuted, the least but for `PRECISION`; infinite where none is."""
        tail = (1.0 - require_confidence(confidence)) / len(tests)

        def refuted(multiplier: float) -> bool:
            curve = self.curve(multiplier)
            return any(refutes(curve, counts, tail=tail) for counts in tests)

        return _least(refuted, self._claim.noise_multiplier, self.epsilon, precision=PRECISION)[1]

    def _curve(self, multiplier: float) -> TradeOffCurve:
        return certified_curve(replace(self._claim, noise_multiplier=multiplier), points=POINTS)

    def _epsilon(self, multiplier: float) -> float:
        return replace(self._claim, noise_multiplier=multiplier).epsilon.lower


@functools.lru_cache(maxsize=16)
def noise_family(claim: TrainingClaim) -> NoiseFamily:
    """The family of a claim, made once, so that audits of one claim share its curves."""
    return NoiseFamily(claim)


def _least(
    refuted: Callable[[float], bool], start: float, epsilon: Callable[[float], float], *, precision: float
) -> tuple[float, float]:
    """A noise multiplier that is not refuted and the next that is, by bisection of the logarithm.

    The second is infinite where none with an epsilon of at least `LEAST` is refuted. Those with an epsilon
    above `MOST` count as not refuted, but for ``start``. All above a refuted one must be refuted, too.
    """

    def shown(value: float) -> bool:
        return LEAST <= epsilon(value) <= MOST and refuted(value)

    low, high = (0.0, start) if refuted(start) else (start, math.inf)
    value, factor = start, FIRST_FACTOR
    while not (low and high < math.inf):
        value = value / factor if low == 0 else value * factor
        if low and epsilon(value) < LEAST:
            return low, math.inf
        low, high = (low, value) if shown(value) else (value, high)
        factor = min(2.0, factor * factor)
    while high > low * (1.0 + precision):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if shown(middle) else (middle, high)
    return low, high
