"""Two sweeps or methods at matched epsilon, each at its own best setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.comparison.matching import Together, matched
from clifftop.analysis.comparison.values import Comparison, Match, Side, Verdict
from clifftop.analysis.comparison.wording import sentence
from clifftop.analysis.evidence import Cell, Evidence
from clifftop.analysis.frontier.contest import ALPHA, contest, p_of_largest
from clifftop.analysis.frontier.held_out import estimate_of, held_out
from clifftop.analysis.frontier.resampling import rows_of
from clifftop.analysis.frontier.table import Floats, SeedTable, level_of, shared_seeds, stacked, table_of
from clifftop.analysis.inference import holm
from clifftop.analysis.uncertainty import Estimate, estimate

TOLERANCE = 0.01
_COMMON = 0.5
_MOST_SEEDS = 100_000


class ComparisonError(ValueError):
    """Two sides that cannot be compared, in one line."""


def compare(
    first: Evidence,
    second: Evidence,
    *,
    names: tuple[str, str] | None = None,
    tolerance: float = TOLERANCE,
    same_data: bool = True,
) -> Comparison:
    """Compare two sweeps, or two methods within one, at every epsilon that both have.

    At each, a side is represented by its best setting: chosen on all seeds for the tables, on the other
    seeds for the difference. The interval and the p-value are of the best true utilities and heed that both
    were chosen among several (`clifftop.analysis.frontier.contest`). The difference is taken seed by seed
    where both sides share data and most of their seeds. Verdicts are told at 5% over all epsilons together
    (Holm).

    Args:
        first: one side.
        second: the other.
        names: of both sides; by default those of the evidence.
        tolerance: how far matched epsilons may lie apart, relative to the larger one.
        same_data: whether a seed means the same data, initialisation and batches on both sides.

    Raises:
        ComparisonError: the sides differ in metric, delta or neighbouring relation, one has no measured
            private cell, or no epsilon of one is near one of the other.
    """
    _check(first, second, tolerance)
    own, other = _usable(first), _usable(second)
    groups = matched(own, other, tolerance=tolerance)
    called = names or (first.name, second.name)
    if not groups:
        raise ComparisonError(_no_match(called, own, other, tolerance))
    seeds = _common_seeds(first, second) if same_data else None
    matches = _adjusted([_match(first, second, group, seeds) for group in groups])
    return Comparison(
        first=called[0],
        second=called[1],
        metric=first.metric,
        maximize=first.maximize,
        delta=first.delta,
        neighboring_relation=first.neighboring_relation or second.neighboring_relation,
        tolerance=tolerance,
        matches=matches,
        unmatched_first=_left_out(own, [cell for group in groups for cell in group.first]),
        unmatched_second=_left_out(other, [cell for group in groups for cell in group.second]),
        verdict=sentence(matches, *called, metric=first.metric, maximize=first.maximize),
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """One side of a match: its table, and what a choice on the other seeds gets, ``(S,)``."""

    table: SeedTable
    outside: Floats


def _match(first: Evidence, second: Evidence, group: Together, seeds: NDArray[np.int64] | None) -> Match:
    own, other = _judge(first, group.first, seeds), _judge(second, group.second, seeds)
    paired = seeds is not None
    both = stacked(own.table, other.table, paired=paired)
    rows = np.arange(len(both.cells))
    num_test = rows_of(both, first.num_test) if first.num_test == second.num_test else None
    lead = contest(both, rows[: len(group.first)], rows[len(group.first) :], num_test=num_test)
    difference = lead.around(_difference(own, other, paired=paired))
    p_value = min(1.0, 2 * min(lead.p_more, lead.p_less))
    return Match(
        epsilon=group.epsilon,
        matching=group.matching,
        first=_side(first, own),
        second=_side(second, other),
        paired=paired,
        difference=difference,
        p_value=p_value,
        p_adjusted=p_value,
        verdict=Verdict.FIRST if lead.p_more <= lead.p_less else Verdict.SECOND,
        seeds_needed=None,
    )


def _adjusted(matches: Sequence[Match]) -> tuple[Match, ...]:
    """The matches with p-values adjusted, and a verdict where these are small enough."""
    adjusted = holm([match.p_value for match in matches])
    return tuple(
        replace(match, p_adjusted=p)
        if p <= ALPHA
        else replace(
            match, p_adjusted=p, verdict=Verdict.OPEN, seeds_needed=_seeds_needed(match, len(matches))
        )
        for match, p in zip(matches, adjusted, strict=True)
    )


def _judge(evidence: Evidence, cells: Sequence[Cell], seeds: NDArray[np.int64] | None) -> _Judged:
    columns = shared_seeds(evidence) if seeds is None else seeds
    table = table_of(evidence, cells, levels=level_of(cells), seeds=columns)
    (outside,) = held_out(table.utilities, np.array([len(cells)]))
    return _Judged(table=table, outside=outside)


def _side(evidence: Evidence, judged: _Judged) -> Side:
    table = judged.table
    row = int(table.means.argmax())
    cell = evidence.cells[int(table.cells[row])]
    outside = estimate_of(judged.outside)
    return Side(
        cell=cell.index,
        setting=cell.setting,
        epsilon=float(table.epsilons[row]),
        compute=cell.compute,
        utility=table.estimates()[row],
        held_out=None if outside is None else outside.mean,
        candidates=len(table.cells),
    )


def _difference(own: _Judged, other: _Judged, *, paired: bool) -> Estimate:
    """First minus second by seed, or of the means; without a second seed of the best means."""
    if paired:
        by_seed = estimate_of(own.outside - other.outside)
        if by_seed is not None:
            return by_seed
    first, second = estimate_of(own.outside), estimate_of(other.outside)
    if first is None or second is None:
        return estimate([float(own.table.means.max() - other.table.means.max())])
    std = math.hypot(first.std, second.std)
    return Estimate(mean=first.mean - second.mean, std=std, n=min(first.n, second.n), ci95=None)


def _seeds_needed(match: Match, epsilons: int) -> int | None:
    """The seeds at which the bound would reach zero, if mean and spread are the measured ones."""
    from scipy.special import ndtri

    found = match.difference
    if found.n < 2 or found.std == 0 or found.mean == 0:
        return None
    among = max(match.first.candidates, match.second.candidates) * epsilons
    wanted = abs(found.mean) / (found.std * math.sqrt(found.n / (found.n - 1)))
    # With the spread known it would take this many; with the spread estimated, a few more.
    least = (float(ndtri(ALPHA / 2 / among)) / wanted) ** 2
    if least > _MOST_SEEDS:
        return None
    seeds = max(found.n + 1, math.ceil(least))
    while not _enough(seeds, among, wanted):
        seeds += max(1, seeds // 100)
    return seeds


def _enough(seeds: int, among: int, wanted: float) -> bool:
    return p_of_largest(wanted * math.sqrt(seeds), among, seeds - 1) <= ALPHA / 2


def _common_seeds(first: Evidence, second: Evidence) -> NDArray[np.int64] | None:
    """The seeds of both sides, if most are common, so that they may be compared seed by seed; else None."""
    own, other = shared_seeds(first), shared_seeds(second)
    if own is None or other is None:
        return None
    either = np.union1d(own, other)
    common = np.intersect1d(own, other)
    return either if common.size >= max(2, _COMMON * either.size) else None


def _usable(evidence: Evidence) -> list[Cell]:
    cells = [
        cell
        for cell in evidence.private
        if cell.epsilon is not None and math.isfinite(cell.epsilon.upper) and evidence.values(cell).size
    ]
    if not cells:
        raise ComparisonError(
            f"a comparison needs finished private runs with a finite epsilon and {evidence.metric}, found "
            f"none in {evidence.name}; train it, or loosen the condition"
        )
    return cells


def _check(first: Evidence, second: Evidence, tolerance: float) -> None:
    if not 0 <= tolerance < 1:
        raise ComparisonError(
            f"tolerance must lie in [0, 1), found tolerance={tolerance:g}; 0.01 matches within 1%"
        )
    if (first.metric, first.maximize) != (second.metric, second.maximize):
        raise ComparisonError(
            f"both sides must be measured alike, found metric={first.metric} and metric={second.metric}; "
            "choose one that both have with --metric"
        )
    deltas = (first.delta, second.delta)
    if None not in deltas and not math.isclose(deltas[0] or 0, deltas[1] or 0, rel_tol=1e-9):
        raise ComparisonError(
            f"epsilons must be at one delta to compare, found delta={first.delta:g} and "
            f"delta={second.delta:g}; train one side again at the other's delta"
        )
    relations = (first.neighboring_relation, second.neighboring_relation)
    if None not in relations and relations[0] != relations[1]:
        raise ComparisonError(
            "epsilons must be for one neighbouring relation to compare, found "
            f"neighboring_relation={relations[0]} and {relations[1]}; train one side again with the other's"
        )


def _no_match(names: tuple[str, str], own: Sequence[Cell], other: Sequence[Cell], tolerance: float) -> str:
    return (
        f"a comparison needs an epsilon that both sides have within {tolerance:.3g} of it, found "
        f"{_listed(own)} in {names[0]} and {_listed(other)} in {names[1]}; "
        "train both at one target_epsilon, or widen --tolerance"
    )


def _listed(cells: Sequence[Cell]) -> str:
    levels = sorted(set(level_of(cells)))
    return ", ".join(f"{level:.4g}" for level in levels[:6]) + (", ..." if len(levels) > 6 else "")


def _left_out(cells: Sequence[Cell], used: Sequence[Cell]) -> tuple[float, ...]:
    taken = {cell.index for cell in used}
    levels = zip(cells, level_of(cells), strict=True)
    return tuple(sorted({level for cell, level in levels if cell.index not in taken}))
