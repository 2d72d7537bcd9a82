r"""The most that a claim permits any attack, and whether attacks on many models refute it.

A claim (epsilon, delta) for each pair of neighbours says of every record, score and threshold that

    P[score high | record in]  <=  e^eps P[score high | record out] + delta.

With models on random parts of one size of one pool the averages over records keep the same line. Such a part
with the record and one without it differ by one record *replaced*, so the claim must be one for replaced
records.

A test with a guarantee needs independent numbers. Targets that are attacked by shadows of their own are
independent of each other given the shadows, records of one target are not: so each target gives one number,

    x = e^-eps (share of its members above the threshold - delta) - share of its others above it,

which is never below ``-(1 + e^-eps delta)`` and has mean 0 or less under the claim. Whoever bets the part
``b < 1`` of a unit on each such number in turn holds ``prod (1 + b x / (1 + e^-eps delta))`` at the end,
never less than 0 and 1 or less in the mean, since the numbers are independent. So is the mean over bets that
were listed beforehand, and it is 20 or more with a chance of 1/20 at most (Markov; Waudby-Smith and Ramdas
2024): then the claim is refuted at a confidence of 95%.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from clifftop.accounting.views import TradeOff, profile
from clifftop.audit.attacks.membership import MembershipAttack
from clifftop.audit.attacks.observations import Flags, Observations, Scores
from clifftop.audit.document import CurveRow
from clifftop.audit.estimators.values import LowerBound, require_audit_delta, require_confidence
from clifftop.events import DpEvent, NeighboringRelation

if TYPE_CHECKING:
    from numpy.typing import NDArray

ASSUMPTIONS = (
    "targets were trained independently of each other, with shadows of their own",
    "each target has a random part of one size of the pool, and the claim is one for replaced records",
    "the threshold was chosen on shadows alone",
)
BETS = np.linspace(0.02, 0.98, 25)
"""Parts that are bet: small ones win on small sure differences, large ones on large differences of few."""
CANDIDATES = 200
EPSILONS = tuple(round(0.02 * place, 2) for place in range(801))
ROUNDING = 1e-9
NAME = "the most that the claim permits"


def permitted_by_event(
    event: DpEvent, rates: Sequence[float], *, neighboring_relation: NeighboringRelation
) -> CurveRow:
    """The certified largest true-positive rate of any attack at each false-positive rate.

    >>> from clifftop.events import Gaussian
    >>> row = permitted_by_event(
    ...     Gaussian(1.0), [0.01, 0.1], neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE
    ... )
    >>> [round(rate, 3) for rate in row.tpr]
    [0.092, 0.389]
    """
    attacks = TradeOff(profile(event, neighboring_relation=neighboring_relation))
    most = (attacks.true_positive_rate(float(rate)).upper for rate in rates)
    return CurveRow(name=NAME, fpr=tuple(map(float, rates)), tpr=tuple(most))


def permitted_by_epsilon(epsilon: float, delta: float, rates: Sequence[float]) -> CurveRow:
    """The same from epsilon and delta alone: two lines.

    >>> permitted_by_epsilon(math.log(4.0), 0.0, [0.0, 0.1, 0.5]).tpr
    (0.0, 0.4, 0.875)
    """
    delta = require_audit_delta(delta)
    flat = math.exp(-epsilon)

    def most(rate: float) -> float:
        steep = math.inf if epsilon > 700 and rate > 0 else math.exp(min(epsilon, 700.0)) * rate + delta
        return min(1.0, steep, 1.0 - flat * (1.0 - delta - rate))

    return CurveRow(name=NAME, fpr=tuple(map(float, rates)), tpr=tuple(most(float(rate)) for rate in rates))


def above(curve: CurveRow, permitted: CurveRow, *, least: float = 0.0) -> tuple[float, ...]:
    """The false-positive rates at which even the lower limit of a curve is above what is permitted.

    Limits are pointwise and approximate: nothing is refuted by this. Rates below ``least`` are left out:
    where hardly anybody is called a member wrongly, the rate that was seen says little of the true one.

    Errors: ValueError for other rates.
    """
    if curve.fpr != permitted.fpr or not curve.lower:
        raise ValueError(
            "both curves must have the same rates, and the first its limits, found "
            f"{len(curve.fpr)} and {len(permitted.fpr)} rates, {len(curve.lower)} limits; make the permitted "
            "one at the other's rates"
        )
    rows = zip(curve.fpr, curve.lower, permitted.tpr, strict=True)
    return tuple(rate for rate, lower, most in rows if rate >= least and lower > most)


def epsilon_from_targets(
    seen: Observations, attack: MembershipAttack, *, delta: float, confidence: float
) -> LowerBound:
    """A lower bound on epsilon from half of the models, attacked with the other half as shadows.

    The threshold is where the shadows, attacked among themselves, show most. Errors: ValueError for fewer
    than eight models.
    """
    if seen.models < 8:
        raise ValueError(f"a bound needs eight models or more, found models={seen.models}; train more")
    delta, tail = require_audit_delta(delta), 1.0 - require_confidence(confidence)
    half = seen.models // 2
    shadows, targets = np.arange(half), np.arange(half, seen.models)
    practice = seen.only(shadows)
    threshold = _threshold(attack.scores(practice), practice.member, delta=delta, tail=tail)
    scores = _against(attack, seen, shadows, targets)
    inside, outside = _shares(scores > threshold, seen.member[targets])
    ones = np.ones(len(targets))
    shown = _largest(inside, outside, delta=delta, tail=tail)
    ceiling = _largest(ones, 0.0 * ones, delta=delta, tail=tail)
    return LowerBound(
        epsilon=shown,
        delta=delta,
        confidence=confidence,
        assumptions=ASSUMPTIONS,
        detection_limit=max(shown, ceiling),
        detail=(("threshold", threshold), ("targets", float(len(targets)))),
    )


def _against(
    attack: MembershipAttack, seen: Observations, shadows: NDArray[np.int64], targets: NDArray[np.int64]
) -> Scores:
    """Scores of targets with the shadows alone, one target at a time."""
    rows = [attack.scores(seen.only(np.append(shadows, target)))[-1] for target in targets]
    return np.asarray(rows)


def _shares(high: Flags, member: Flags) -> tuple[Scores, Scores]:
    """Of each target, the share of its members and of its others that are called members."""
    inside = (high & member).sum(axis=1) / np.maximum(member.sum(axis=1), 1)
    outside = (high & ~member).sum(axis=1) / np.maximum((~member).sum(axis=1), 1)
    return inside, outside


def _threshold(scores: Scores, member: Flags, *, delta: float, tail: float) -> float:
    """Where practice shows the largest epsilon; where it shows none, where both rates differ most."""
    shares = 1.0 - np.geomspace(2.0 / scores.size, 0.9, CANDIDATES)
    levels = np.unique(np.quantile(scores, shares, method="lower"))
    found = [_shares(scores > level, member) for level in levels]
    shown = [_largest(inside, outside, delta=delta, tail=tail) for inside, outside in found]
    apart = [float(np.mean(inside - outside)) for inside, outside in found]
    best = max(range(len(levels)), key=lambda place: (shown[place], apart[place]))
    return float(levels[best])


def _largest(inside: Scores, outside: Scores, *, delta: float, tail: float) -> float:
    """The last epsilon of a fixed list, from 0 up, before the first that is not refuted.

    Whoever stops at the first needs no correction: to go too far, the first true one must be refuted.
    """
    largest = 0.0
    for epsilon in EPSILONS:
        shrink = math.exp(-epsilon)
        values = shrink * (inside - delta) - outside
        if _log_wealth(values / (1.0 + shrink * delta)) < math.log(1.0 / tail) + ROUNDING:
            break
        largest = epsilon
    return largest


def _log_wealth(values: Scores) -> float:
    """Log of the mean wealth of all `BETS` on ``values``, each at least -1, from a unit each."""
    wealth = np.log1p(np.outer(BETS, values)).sum(axis=1)
    return float(special.logsumexp(wealth)) - math.log(len(BETS))
