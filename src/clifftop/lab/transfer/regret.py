"""What a transfer lost, where the target was searched too: only public data allow that for free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from scipy.stats import spearmanr

from clifftop.lab.sweep import Point
from clifftop.lab.transfer.carry import USUAL, Rules, carried, choose, distance
from clifftop.lab.transfer.results import Results, TransferError

ROUNDED = 1e-4
"""Settings that are no farther apart differ by rounding."""


@final
@dataclass(frozen=True, kw_only=True)
class Regret:
    """The transfer at one level of privacy, on the grid of the target's own sweep.

    Attributes:
        level: the epsilon, or the noise multiplier.
        source: the proxy's best setting.
        transferred: the target's setting that is nearest to what was carried.
        is_exact: whether it is exactly that.
        best: the target's own best setting.
        regret: the goal's metric at ``best`` minus that at ``transferred``, turned so that it is >= 0. It is
            NaN if the transferred setting diverged.
        standard_error: of that difference, paired by seed; 0 where both are one setting, NaN with one seed.
        random_regret: the mean of the same over all settings at this level that did not diverge: what a
            setting taken at random would lose.
        rank_correlation: Spearman's, of the settings' means on proxy and target; NaN below three settings.
        pairs: how many settings it is of.
    """

    level: float
    source: Point
    transferred: Point
    is_exact: bool
    best: Point
    regret: float
    standard_error: float
    random_regret: float
    rank_correlation: float
    pairs: int


def transfer_regret(proxy: Results, target: Results, *, rules: Rules = USUAL) -> tuple[Regret, ...]:
    """What taking the proxy's best setting lost, at each level of privacy that the target was searched at.

    The best of a grid is favoured by chance, so a regret is too large rather than too small.

    Errors: TransferError for sweeps that are not both declared public, and as `choose`.
    """
    if not target.sweep.public:
        raise TransferError(
            "the target of a regret must be public, found public = false in sweep "
            f"{target.sweep.name!r}; a search of private data costs privacy"
        )
    chosen = choose(proxy, target.sweep, num_examples=target.num_examples, rules=rules)
    return tuple(_regret(proxy, target, found.level, found.point, rules) for found in chosen)


def _regret(proxy: Results, target: Results, level: float, point: Point, rules: Rules) -> Regret:
    source, best = proxy.best(level), target.best(level)
    cells = target.at_level(level)
    nearest = min(cells, key=lambda cell: distance(point, cell.point))
    if math.isinf(distance(point, nearest.point)):
        raise TransferError(
            f"the target must hold a setting near the transferred one, found none near {dict(point)}; "
            "train it there"
        )
    sign = 1.0 if target.sweep.goal.maximize else -1.0
    pairs = _pairs(proxy, target, level, rules)
    return Regret(
        level=level,
        source=source.point,
        transferred=nearest.point,
        is_exact=distance(point, nearest.point) < ROUNDED,
        best=best.point,
        regret=sign * (best.mean - nearest.mean),
        standard_error=0.0 if best is nearest else best.standard_error_of_difference(nearest),
        random_regret=sign * (best.mean - _mean_of([cell.mean for cell in cells])),
        rank_correlation=_spearman(pairs),
        pairs=len(pairs),
    )


def _mean_of(values: list[float]) -> float:
    whole = [value for value in values if not math.isnan(value)]
    return math.fsum(whole) / len(whole)


def _pairs(proxy: Results, target: Results, level: float, rules: Rules) -> list[tuple[float, float]]:
    """Means of each of the proxy's settings and of the nearest of the target's, each of which counts once."""
    pairs: list[tuple[float, float]] = []
    taken: set[int] = set()
    cells = target.at_level(level)
    for cell in proxy.at_level(level):
        point = carried(
            proxy, cell, target.sweep, level=level, num_examples=target.num_examples, rules=rules
        ).point
        place = min(range(len(cells)), key=lambda i: distance(point, cells[i].point))
        whole = not (math.isnan(cell.mean) or math.isnan(cells[place].mean))
        if whole and place not in taken and math.isfinite(distance(point, cells[place].point)):
            taken.add(place)
            pairs.append((cell.mean, cells[place].mean))
    return pairs


def _spearman(pairs: list[tuple[float, float]]) -> float:
    if len(pairs) < 3 or any(len({pair[side] for pair in pairs}) == 1 for side in (0, 1)):
        return math.nan
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
