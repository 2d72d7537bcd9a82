r"""The most that a claim permits any attack on membership.

A claim (epsilon, delta) for each pair of neighbours says of every record, score and threshold that

    P[score high | record in]  <=  e^eps P[score high | record out] + delta.

With models on random parts of one size of one pool the averages over records keep the same line. Such a part
with the record and one without it differ by one record *replaced*, so the claim must be one for replaced
records. `clifftop.audit.attacks.targets` tests it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from clifftop.accounting.views import TradeOff, profile
from clifftop.audit.document import CurveRow
from clifftop.audit.estimators.values import require_audit_delta
from clifftop.events import DpEvent, NeighboringRelation

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
