"""What the settings of a sweep reached, and the best of them at each level of privacy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from clifftop.lab.contract import RunStore
from clifftop.lab.sweep.search import REPEATS, Point

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep

_LEVELS = ("target_epsilon", "noise_multiplier")


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """A setting, and what its runs reached.

    Attributes:
        point: a value for each axis but seeds.
        epsilon: of one of its runs alone, from above.
        score: the mean of the goal's metric over seeds, at the last evaluation; NaN if one diverged.
        runs: how many have finished.
        baseline: whether they have neither clipping nor noise.
    """

    point: Point
    epsilon: float
    score: float
    runs: int
    baseline: bool


def cells(sweep: Sweep, store: RunStore, run_ids: Iterable[str]) -> list[Cell]:
    """The finished settings among these runs, in their order."""
    settings, finished = store.settings(), _finished(store, sweep.goal.metric)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for run_id in run_ids:
        if run_id in finished:
            point = _without_repeats(settings[run_id].point)
            key = (str(finished[run_id][1]), *map(repr, point.items()))
            grouped.setdefault(key, []).append(run_id)
    return [
        Cell(
            point=_without_repeats(settings[ids[0]].point),
            epsilon=max(settings[run_id].epsilon_upper for run_id in ids),
            score=sum(finished[run_id][0] for run_id in ids) / len(ids),
            runs=len(ids),
            baseline=finished[ids[0]][1],
        )
        for ids in grouped.values()
    ]


def best_of(sweep: Sweep, found: Iterable[Cell]) -> list[Cell]:
    """The best cell of each target epsilon, or noise multiplier, or epsilon, and the best baseline.

    The most private comes first. Settings of which a run diverged are none of them.
    """
    best: dict[tuple[bool, object], Cell] = {}
    for cell in found:
        if math.isnan(cell.score):
            continue
        level = next((cell.point[name] for name in _LEVELS if name in cell.point), cell.epsilon)
        known = best.get((cell.baseline, level))
        if known is None or sweep.goal.score(cell.score) > sweep.goal.score(known.score):
            best[cell.baseline, level] = cell
    return sorted(best.values(), key=lambda cell: (cell.baseline, cell.epsilon))


def _finished(store: RunStore, metric: str) -> Mapping[str, tuple[float, bool]]:
    """For every finished run the last value of a metric, NaN if it diverged, and whether it is a baseline."""
    # SQLite takes a bare column from the row that holds the maximum.
    rows = store.query(
        "SELECT run.id, run.status, run.clip_norm, metric.value, max(metric.step) FROM run "
        "LEFT JOIN metric ON metric.run = run.key AND metric.name = ? "
        "WHERE run.status IN ('done', 'diverged') GROUP BY run.key",
        (metric,),
    )
    return {
        run_id: (math.nan if status == "diverged" or value is None else float(value), clip == math.inf)
        for run_id, status, clip, value, _ in rows
    }


def _without_repeats(point: Point) -> Point:
    return {name: value for name, value in point.items() if name not in REPEATS}
