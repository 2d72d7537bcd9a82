"""What `clifftop sweep` prints in tables: the plan, and the best settings found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from clifftop.report.wording import epsilon_up

if TYPE_CHECKING:
    from clifftop.lab.sweep import Cell, PlannedSweep, Point, Sweep, TrainedSweep


def plan_table(asked: Sweep, planned: PlannedSweep) -> Table:
    """Groups of runs that train together, and between which epsilons each of their runs alone lies."""
    relation = planned.groups[0].neighboring_relation
    table = _table(
        f"{asked.name}: what would be trained",
        f"epsilon is that of one run alone at delta = {asked.delta:g} ({relation}), upper end, rounded up",
    )
    for name in ("runs", "no privacy", "cohorts", "steps", "batch", "epsilon from", "to"):
        table.add_column(name, justify="right")
    table.add_column("shared setting")
    for group in planned.groups:
        counts = (group.runs, group.baselines, group.cohorts, group.steps, f"{group.expected_batch_size:g}")
        ends = (group.least_epsilon, group.greatest_epsilon)
        table.add_row(*map(str, counts), *map(_epsilon, ends), _said(group.shared))
    return table


def best_table(trained: TrainedSweep) -> Table:
    """The best setting at each level of privacy."""
    goal = trained.sweep.goal
    sign = "highest" if goal.maximize else "lowest"
    table = _table(
        f"{trained.sweep.name}: {sign} {goal.metric} at each level of privacy, mean over seeds",
        f"epsilon is that of one run alone at delta = {trained.sweep.delta:g}; "
        "choosing the best costs more, as said below",
    )
    table.add_column("epsilon", justify="right")
    table.add_column(Text(goal.metric), justify="right")
    table.add_column("runs", justify="right")
    names = list(dict.fromkeys(name for cell in trained.best for name in cell.point))
    for name in names:
        table.add_column(name, justify="right")
    for cell in trained.best:
        values = (str(cell.point.get(name, "-")) for name in names)
        table.add_row(_level(cell), f"{cell.score:.4f}", str(cell.runs), *values)
    return table


def _table(title: str, caption: str) -> Table:
    return Table(title=Text(title), caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)


def _level(cell: Cell) -> str:
    return "no privacy" if cell.baseline else _epsilon(cell.epsilon)


def _epsilon(value: float) -> str:
    return "none" if math.isinf(value) else epsilon_up(value)


def _said(point: Point) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())
