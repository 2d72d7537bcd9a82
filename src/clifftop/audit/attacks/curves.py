"""True against false positives of an attack, summed up, with intervals over models and records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.attacks.observations import Flags, Scores
from clifftop.audit.document import CurveRow

DRAWS = 200
POINTS = 400
RATES = (0.001, 0.01)
"""False-positive rates at which an attack that matters is looked at (Carlini et al. 2022)."""


@final
@dataclass(frozen=True, kw_only=True)
class Rate:
    """A number with its 95% interval; ``resolved`` says whether there were enough records to see it."""

    value: float
    lower: float
    upper: float
    resolved: bool = True

    def __str__(self) -> str:
        """As text.

        >>> (
        ...     str(Rate(value=0.5, lower=0.4, upper=0.6)),
        ...     str(Rate(value=0.0, lower=0.0, upper=0.0, resolved=False)),
        ... )
        ('0.500 [0.400, 0.600]', 'not resolved')
        """
        return f"{self.value:.3f} [{self.lower:.3f}, {self.upper:.3f}]" if self.resolved else "not resolved"


@final
@dataclass(frozen=True, kw_only=True)
class MembershipCurve:
    """What an attack reaches on all models and records together.

    Intervals are percentiles over a bootstrap of models and of records at once, each drawn with weights of
    its own (Owen and Eckles 2012: such an interval is rather too wide than too short for pooled data). They
    are approximate; nothing is refuted by them.

    Attributes:
        name: of the attack.
        fpr: rising false-positive rates at which the curve changes, at most `POINTS` of them.
        tpr: the share of members above the threshold of each.
        lower: of the interval of each.
        upper: of the interval of each.
        auc: chance that a member scores above a non-member, ties halved.
        advantage: the largest difference of both rates.
        at: the true-positive rate at each of `RATES`, never between two thresholds.
    """

    name: str
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    auc: Rate
    advantage: Rate
    at: tuple[Rate, ...]

    def row(self) -> CurveRow:
        """As an audit's document has it."""
        parts = (self.fpr, self.tpr, self.lower, self.upper)
        fpr, tpr, lower, upper = (tuple(part.tolist()) for part in parts)
        return CurveRow(name=self.name, fpr=fpr, tpr=tpr, lower=lower, upper=upper)


def membership_curve(
    scores: Scores, member: Flags, *, name: str = "attack", draws: int = DRAWS, seed: int = 0
) -> MembershipCurve:
    """The curve of ``(M, N)`` scores, higher for members, against ``(M, N)`` memberships.

    Args:
        scores: of every target and record; finite or infinite, not NaN.
        member: the truth.
        name: of the attack.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Errors: ValueError for NaN, or where nobody is a member or everybody.

    >>> curve = membership_curve(np.array([[3.0, 1.0], [0.0, 2.0]]), np.array([[True, False], [False, True]]))
    >>> curve.auc.value, curve.at[0].value, curve.at[0].resolved
    (1.0, 1.0, False)
    """
    if bool(np.isnan(scores).any()) or member.all() or not member.any():
        raise ValueError(
            "scores must be numbers and some records members, some not, found "
            f"{int(np.isnan(scores).sum())} NaN and {int(member.sum())} members of {member.size}"
        )
    ranked = _Ranked.of(scores, member)
    rates = ranked.rates(np.ones(scores.size))
    grid = _grid(rates[0])
    drawn = _bootstrap(ranked, scores.shape, grid, draws=draws, seed=seed)
    tpr = _at(*rates, grid)
    outside = int(member.size - member.sum())
    lower, upper = np.percentile(drawn.curves, [2.5, 97.5], axis=0)
    return MembershipCurve(
        name=name,
        fpr=grid,
        tpr=tpr,
        lower=np.minimum(lower, tpr),
        upper=np.maximum(upper, tpr),
        auc=_rate(_area(*rates), drawn.areas),
        advantage=_rate(_advantage(*rates), drawn.advantages),
        at=tuple(
            _rate(float(_at(*rates, np.array([rate]))[0]), drawn.at[:, place], resolved=rate * outside >= 1)
            for place, rate in enumerate(RATES)
        ),
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """Pairs of model and record from the highest score down; tied ones share an end."""

    order: NDArray[np.int64]
    member: Flags
    ends: NDArray[np.int64]  # the last place of each tied group

    @classmethod
    def of(cls, scores: Scores, member: Flags) -> _Ranked:
        flat = scores.ravel()
        order = np.argsort(-flat, kind="stable")
        ranked = flat[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        return cls(order=order, member=member.ravel()[order], ends=ends)

    def rates(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """False and true positive rates at each threshold, from (0, 0) to (1, 1)."""
        ranked = weights[self.order]
        hits = np.cumsum(np.where(self.member, ranked, 0.0))[self.ends]
        wrong = np.cumsum(np.where(self.member, 0.0, ranked))[self.ends]
        fpr, tpr = wrong / max(wrong[-1], 1e-300), hits / max(hits[-1], 1e-300)
        return np.append(0.0, fpr), np.append(0.0, tpr)


@final
@dataclass(frozen=True, kw_only=True)
class _Drawn:
    curves: NDArray[np.float64]
    areas: NDArray[np.float64]
    advantages: NDArray[np.float64]
    at: NDArray[np.float64]


def _bootstrap(
    ranked: _Ranked, shape: tuple[int, ...], grid: NDArray[np.float64], *, draws: int, seed: int
) -> _Drawn:
    rng = np.random.default_rng(seed)
    found = _Drawn(
        curves=np.empty((draws, len(grid))),
        areas=np.empty(draws),
        advantages=np.empty(draws),
        at=np.empty((draws, len(RATES))),
    )
    for place in range(draws):
        models, records = rng.exponential(size=shape[0]), rng.exponential(size=shape[1])
        rates = ranked.rates(np.outer(models, records).ravel())
        found.curves[place] = _between(*rates, grid)
        found.areas[place] = _area(*rates)
        found.advantages[place] = _advantage(*rates)
        found.at[place] = _at(*rates, np.asarray(RATES))
    return found


def _grid(fpr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a curve is kept: 0, and at most `POINTS` of its own rates, evenly on a log scale."""
    own = np.unique(fpr[fpr > 0])
    if own.size > POINTS:
        wanted = np.geomspace(own[0], 1.0, POINTS)
        own = np.unique(own[np.searchsorted(own, wanted).clip(max=own.size - 1)])
    return np.append(0.0, own)


def _at(
    fpr: NDArray[np.float64], tpr: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The true-positive rate of the lowest threshold that keeps to each rate: nothing between thresholds."""
    return tpr[np.searchsorted(fpr, rates * (1.0 + 1e-12), side="right") - 1]


def _between(
    fpr: NDArray[np.float64], tpr: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same with chance between two thresholds: a resample's rates are never just those of the grid."""
    last = np.append(fpr[1:] != fpr[:-1], True)
    return np.interp(rates, fpr[last], tpr[last])


def _area(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    return float(np.sum(np.diff(fpr) * 0.5 * (tpr[1:] + tpr[:-1])))


def _advantage(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    return float(np.max(tpr - fpr))


def _rate(value: float, drawn: NDArray[np.float64], *, resolved: bool = True) -> Rate:
    lower, upper = np.percentile(drawn, [2.5, 97.5])
    return Rate(
        value=value, lower=min(float(lower), value), upper=max(float(upper), value), resolved=resolved
    )
