"""What the settings of a sweep reached, and the best of them at each level of privacy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from clifftop.lab.arms import ARM_SQL
from clifftop.lab.contract import RunStore
from clifftop.lab.sweep.knobs import NOISE_LEVELS
from clifftop.lab.sweep.search import REPEATS, Point
from clifftop.vocabulary import Arm

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """A setting, and what its runs reached.

    Attributes:
        point: a value for each axis but seeds.
        epsilon: of one of its runs alone, from above.
        score: the mean of the goal's metric over seeds, at the last evaluation; NaN if one diverged.
        runs: how many have finished.
        arm: what was done to their gradients.
        asked: whether the sweep's axes hold it; counterfactuals stand beside such cells.
    """

    point: Point
    epsilon: float
    score: float
    runs: int
    arm: Arm
    asked: bool

    @property
    def baseline(self) -> bool:
        """Whether its runs have neither clipping nor noise."""
        return self.arm is Arm.NEITHER


def cells(sweep: Sweep, store: RunStore, run_ids: Iterable[str]) -> list[Cell]:
    """The finished settings among these runs, in their order."""
    settings, finished = store.settings(), _finished(store, sweep.goal.metric)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for run_id in run_ids:
        if run_id in finished:
            point = _without_repeats(settings[run_id].point)
            key = (finished[run_id].arm, *map(repr, point.items()))
            grouped.setdefault(key, []).append(run_id)
    return [
        Cell(
            point=(point := _without_repeats(settings[ids[0]].point)),
            epsilon=max(settings[run_id].epsilon_upper for run_id in ids),
            score=sum(finished[run_id].score for run_id in ids) / len(ids),
            runs=len(ids),
            arm=(arm := finished[ids[0]].arm),
            asked=_asked(sweep, arm, point),
        )
        for ids in grouped.values()
    ]


def _asked(sweep: Sweep, arm: Arm, point: Point) -> bool:
    """Whether a cell was asked for: those that are private, and those asked for without noise."""
    silent = arm is Arm.CLIPPING and sweep.value("noise_multiplier", point) == 0
    return arm is Arm.BOTH or silent


def best_of(sweep: Sweep, found: Iterable[Cell]) -> list[Cell]:
    """The best cell of each target epsilon, or noise multiplier, or epsilon, and the best baseline.

    The most private comes first. Settings of which a run diverged are none of them.
    """
    best: dict[tuple[bool, object], Cell] = {}
    for cell in found:
        if math.isnan(cell.score) or not (cell.asked or cell.baseline):
            continue
        level = next((cell.point[name] for name in NOISE_LEVELS if name in cell.point), cell.epsilon)
        known = best.get((cell.baseline, level))
        if known is None or sweep.goal.score(cell.score) > sweep.goal.score(known.score):
            best[cell.baseline, level] = cell
    return sorted(best.values(), key=lambda cell: (cell.baseline, cell.epsilon))


@final
@dataclass(frozen=True)
class _Finished:
    """A finished run: the metric's last value, NaN if it diverged, and its arm."""

    score: float
    arm: Arm


def _finished(store: RunStore, metric: str) -> Mapping[str, _Finished]:
    # SQLite takes a bare column from the row that holds the maximum.
    rows = store.query(
        f"SELECT run.id, run.status, {ARM_SQL}, metric.value, max(metric.step) FROM run "
        "LEFT JOIN metric ON metric.run = run.key AND metric.name = ? "
        "WHERE run.status IN ('done', 'diverged') GROUP BY run.key",
        (metric,),
    )
    return {
        run_id: _Finished(math.nan if status == "diverged" or value is None else float(value), Arm(arm))
        for run_id, status, arm, value, _ in rows
    }


def _without_repeats(point: Point) -> Point:
    return {name: value for name, value in point.items() if name not in REPEATS}
