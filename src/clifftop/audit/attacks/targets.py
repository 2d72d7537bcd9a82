r"""What independent targets say of a claim, with a guarantee.

A claim (epsilon, delta) for replaced records says of every record, score and threshold that

    P[score high | record in]  <=  e^eps P[score high | record out] + delta,

and so, mean by mean, of models on random parts of one size of one pool (`permitted`). A test needs
independent numbers. Targets that are attacked by shadows of their own are independent of each other given
the shadows; records of one target are not. So each target gives one number,

    x = e^-eps (share of its members above the threshold - delta) - share of its others above it,

which is never below ``-(1 + e^-eps delta)`` and has mean 0 or less under the claim. Whoever bets the part
``b < 1`` of a unit on each such number in turn holds ``prod (1 + b x / (1 + e^-eps delta))`` at the end,
never less than 0 and 1 or less in the mean, since the numbers are independent. So is the mean over bets that
were listed beforehand, and it is ``1 / p`` or more with a chance of p at most (Markov; Waudby-Smith and
Ramdas 2024).

Which attack, which threshold and which point of a claimed curve to bet on is chosen by the shadows, attacked
among themselves: that costs nothing, as no target is looked at. The claim holds alike for members that are
called others, ``P[low | out] <= e^eps P[low | in] + delta``, so a curve is tested on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from clifftop.accounting.views import PrivacyProfile
from clifftop.audit.attacks.membership import MembershipAttack
from clifftop.audit.attacks.observations import Flags, Observations, Scores
from clifftop.audit.document import CheckRow
from clifftop.audit.estimators.values import LowerBound, require_audit_delta, require_confidence

ASSUMPTIONS = (
    "targets were trained independently of each other, with shadows of their own",
    "each target has a random part of one size of the pool, and the claim is one for replaced records",
    "attack and threshold were chosen on shadows alone",
)
BETS = np.linspace(0.02, 0.98, 25)
"""Parts that are bet: small ones win on small sure differences, large ones on large differences of few."""
CANDIDATES = 100
"""Thresholds that are tried on either side, evenly in the log of the share beyond them."""
EPSILONS = tuple(round(0.02 * place, 2) for place in range(801))
POINTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Epsilons at which a claimed curve may be bet on."""
ROUNDING = 1e-9
FEWEST = 8
CURVE = "claimed curve"
MUST_HOLD = "no attack beats the trade-off curve of the claim"
NO_BET = "on the shadows, no attack comes near the curve"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Half of the models as shadows, the other half as targets that nothing is chosen by.

    Attributes:
        seen: of all models.
        attacks: to choose from.
    """

    seen: Observations
    attacks: Sequence[MembershipAttack]

    def __post_init__(self) -> None:
        if self.seen.models < FEWEST or not self.attacks:
            raise ValueError(
                f"a bound needs {FEWEST} models and an attack at least, found models={self.seen.models} and "
                f"{len(self.attacks)} attacks; train more"
            )

    @property
    def _half(self) -> int:
        return self.seen.models // 2

    @cached_property
    def practice(self) -> tuple[_Shares, ...]:
        """Every attack and threshold on the shadows, attacked among themselves."""
        shadows, found = self.seen.only(np.arange(self._half)), list[_Shares]()
        for place, attack in enumerate(self.attacks):
            scores = attack.scores(shadows)
            shares = np.geomspace(2.0 / scores.size, 0.9, CANDIDATES)
            ranks = np.concatenate([shares, 1.0 - shares])
            for level in np.unique(np.quantile(scores, ranks, method="lower")):
                found.append(_Shares.of(scores, shadows.member, attack=place, threshold=float(level)))
        return tuple(found)

    def judged(self, chosen: _Shares) -> _Shares:
        """The attack and threshold that were chosen, on targets, by shadows alone."""
        attack, shadows = self.attacks[chosen.attack], np.arange(self._half)
        targets = np.arange(self._half, self.seen.models)
        rows = [attack.scores(self.seen.only(np.append(shadows, target)))[-1] for target in targets]
        member = self.seen.member[targets]
        return _Shares.of(np.asarray(rows), member, attack=chosen.attack, threshold=chosen.threshold)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Shares:
    """Of each model, the share of its members and of its others above a threshold, ``(M,)`` each."""

    attack: int
    threshold: float
    inside: Scores
    outside: Scores

    @classmethod
    def of(cls, scores: Scores, member: Flags, *, attack: int, threshold: float) -> _Shares:
        high = scores > threshold
        return cls(
            attack=attack,
            threshold=threshold,
            inside=(high & member).sum(axis=1) / np.maximum(member.sum(axis=1), 1),
            outside=(high & ~member).sum(axis=1) / np.maximum((~member).sum(axis=1), 1),
        )

    @property
    def apart(self) -> float:
        """How far both shares are from each other in the mean."""
        return float(np.mean(self.inside - self.outside))

    def turned(self) -> _Shares:
        """The same with low scores in the part of high ones, and others in that of members."""
        return _Shares(
            attack=self.attack,
            threshold=self.threshold,
            inside=1.0 - self.outside,
            outside=1.0 - self.inside,
        )


def epsilon_from_targets(held: HeldOut, *, delta: float, confidence: float) -> LowerBound:
    """A lower bound on epsilon for replaced records, from what the targets show.

    Attack and threshold are those with which the shadows, attacked among themselves, show most.
    """
    delta, tail = require_audit_delta(delta), 1.0 - require_confidence(confidence)
    chosen = max(held.practice, key=lambda one: (_largest(one, delta=delta, tail=tail), one.apart))
    judged = held.judged(chosen)
    ones = np.ones_like(judged.inside)
    perfect = _Shares(attack=0, threshold=0.0, inside=ones, outside=0.0 * ones)
    shown = _largest(judged, delta=delta, tail=tail)
    return LowerBound(
        epsilon=shown,
        delta=delta,
        confidence=confidence,
        assumptions=(*ASSUMPTIONS, f"shown by {held.attacks[chosen.attack].name}"),
        detection_limit=max(shown, _largest(perfect, delta=delta, tail=tail)),
        detail=(("threshold", chosen.threshold), ("targets", float(len(ones)))),
    )


def curve_from_targets(held: HeldOut, claimed: PrivacyProfile, *, level: float) -> CheckRow:
    """Whether targets refute a claimed curve for replaced records, at the point that shadows say to bet on.

    A true claim fails with a chance of ``level`` at most.
    """
    curve = _Curve.of(claimed)
    growth, practised, turned, place = _where_to_bet(held, curve)
    if growth <= 0.0:
        return CheckRow(name=CURVE, passed=True, found=NO_BET, must_hold=MUST_HOLD, p_value=1.0)
    judged = held.judged(practised)
    epsilon, delta = float(curve.epsilons[place]), float(curve.deltas[place])
    values = _values(judged.turned() if turned else judged, epsilon, delta)
    p_value = math.exp(-max(0.0, _log_wealth(values)))
    inside, outside = float(judged.inside.mean()), float(judged.outside.mean())
    return CheckRow(
        name=CURVE,
        passed=p_value > level,
        found=(
            f"{held.attacks[judged.attack].name} calls {inside:.1%} of members members and {outside:.1%} of "
            f"others, where the claim has epsilon {epsilon:g} at delta {delta:.2g}"
        ),
        must_hold=MUST_HOLD,
        p_value=p_value,
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Curve:
    """Points of a claimed curve, delta rounded up as the accountant does."""

    epsilons: Scores
    deltas: Scores

    @classmethod
    def of(cls, claimed: PrivacyProfile) -> _Curve:
        deltas = [claimed.delta(epsilon).upper for epsilon in POINTS]
        return cls(epsilons=np.asarray(POINTS), deltas=np.asarray(deltas))

    def growth(self, shares: _Shares) -> Scores:
        """About how fast the best bet grows at each point, by the mean and the spread of the numbers."""
        shrink = np.exp(-self.epsilons)[:, None]
        deltas = self.deltas[:, None]
        values = (shrink * (shares.inside - deltas) - shares.outside) / (1.0 + shrink * deltas)
        mean, square = values.mean(axis=1), (values**2).mean(axis=1)
        return np.abs(mean) * mean / (square + 1e-12)


def _where_to_bet(held: HeldOut, curve: _Curve) -> tuple[float, _Shares, bool, int]:
    """How fast bets grow on shadows at best, and where: attack and threshold, side, place on the curve."""
    found: list[tuple[float, _Shares, bool, int]] = []
    for one in held.practice:
        for turned in (False, True):
            growth = curve.growth(one.turned() if turned else one)
            place = int(growth.argmax())
            found.append((float(growth[place]), one, turned, place))
    return max(found, key=lambda row: row[0])


def _values(shares: _Shares, epsilon: float, delta: float) -> Scores:
    """A number a model: -1 or more, and 0 or less in the mean if the claim holds."""
    shrink = math.exp(-epsilon)
    return (shrink * (shares.inside - delta) - shares.outside) / (1.0 + shrink * delta)


def _largest(shares: _Shares, *, delta: float, tail: float) -> float:
    """The last epsilon of a fixed list, from 0 up, before the first that is not refuted.

    Whoever stops at the first needs no correction: to go too far, the first true one must be refuted.
    """
    largest = 0.0
    for epsilon in EPSILONS:
        if _log_wealth(_values(shares, epsilon, delta)) < math.log(1.0 / tail) + ROUNDING:
            break
        largest = epsilon
    return largest


def _log_wealth(values: Scores) -> float:
    """Log of the mean wealth of all `BETS` on ``values``, each at least -1, from a unit each."""
    wealth: NDArray[np.float64] = np.log1p(np.outer(BETS, values)).sum(axis=1)
    return float(special.logsumexp(wealth)) - math.log(len(BETS))
