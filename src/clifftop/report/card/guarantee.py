"""The guarantee of one release in numbers: epsilon, what attackers reach, mu; or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from clifftop import accounting
from clifftop.accounting import Bound, UnsupportedEvent
from clifftop.events import DpEvent, NeighboringRelation
from clifftop.report.card.base import NotStated

FALSE_POSITIVE_RATES = (0.01, 0.001)
VAST_EPSILON = 100.0
"""Beyond it a curve limits nothing, and takes seconds."""
_NUMBERS = "epsilon, mu and what attackers reach"


@final
@dataclass(frozen=True, kw_only=True)
class GaussianView:
    """The guarantee as Gaussian differential privacy.

    Attributes:
        mu: certified for epsilons up to ``reach`` (`clifftop.accounting.views.gaussian_mu`).
        reach: the last epsilon that it was certified at.
        regret: by how much naming mu alone may misjudge the accuracy of a guess.
    """

    mu: Bound
    reach: float
    regret: float


@final
@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What is proven of one release.

    Attributes:
        epsilon: least epsilon at ``delta``; None where it is not stated.
        delta: of it.
        true_positive_rates: the most that attackers reach, by false-positive rate.
        advantage: the most by which true positives exceed false positives.
        gaussian: as Gaussian DP.
        not_stated: what is refused.
    """

    epsilon: Bound | None
    delta: float
    true_positive_rates: tuple[tuple[float, Bound], ...] = ()
    advantage: Bound | None = None
    gaussian: GaussianView | None = None
    not_stated: tuple[NotStated, ...] = ()


def guarantee_of(event: DpEvent, *, delta: float, neighboring_relation: NeighboringRelation) -> Guarantee:
    """What is proven of an event; what cannot be is refused by name."""
    from clifftop.accounting.views import TradeOff, gaussian_mu, gaussian_regret, profile

    try:
        bound = accounting.epsilon(event, delta=delta, neighboring_relation=neighboring_relation)
    except UnsupportedEvent as error:
        return refused(delta, str(error))
    if not math.isfinite(bound.upper):
        return refused(
            delta, "no finite epsilon is proven for this mechanism at this delta; add noise, or raise delta"
        )
    if bound.upper > VAST_EPSILON:
        why = f"epsilon is above {VAST_EPSILON:g}, where the curve limits no attack worth the name"
        unsaid = NotStated(what="mu and what attackers reach", why=why)
        return Guarantee(epsilon=bound, delta=delta, not_stated=(unsaid,))
    curve = profile(event, neighboring_relation=neighboring_relation)
    attacks = TradeOff(curve)
    mu = gaussian_mu(curve)
    gaussian, unsaid = None, ()
    if math.isfinite(mu.upper):
        regret = gaussian_regret(curve, mu=mu.upper).upper
        gaussian = GaussianView(mu=mu, reach=curve.epsilons[-1], regret=regret)
    else:
        unsaid = (NotStated(what="mu", why="no Gaussian mechanism is proven to be as bad as this one"),)
    return Guarantee(
        epsilon=bound,
        delta=delta,
        true_positive_rates=tuple((rate, attacks.true_positive_rate(rate)) for rate in FALSE_POSITIVE_RATES),
        advantage=attacks.advantage(),
        gaussian=gaussian,
        not_stated=unsaid,
    )


def refused(delta: float, *reasons: str) -> Guarantee:
    """No numbers at all."""
    return Guarantee(
        epsilon=None, delta=delta, not_stated=tuple(NotStated(what=_NUMBERS, why=why) for why in reasons)
    )
