"""Curves of equal compute and of equal epsilon: two of three quantities, the third within a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clifftop.analysis.frontier.table import Floats, Ints, SeedTable
from clifftop.analysis.frontier.values import Curve, CurvePoint
from clifftop.analysis.uncertainty import Estimate

FEW_CURVES = 6


def over_epsilon(
    table: SeedTable, estimates: Sequence[Estimate], limits: Sequence[float] | None
) -> tuple[Curve, ...]:
    """For each limit on compute the front of the cells within it, by rising epsilon."""
    return _curves(table, estimates, table.compute, table.levels, limits)


def over_compute(
    table: SeedTable, estimates: Sequence[Estimate], limits: Sequence[float] | None
) -> tuple[Curve, ...]:
    """For each limit on epsilon the front of the cells within it, by rising compute."""
    return _curves(table, estimates, table.levels, table.compute, limits)


def some_of(values: Floats, count: int = FEW_CURVES) -> list[float]:
    """At most ``count`` of the distinct values, the largest among them, at even ranks.

    >>> some_of(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), 2)
    [2.0, 4.0]
    """
    distinct = np.unique(values[np.isfinite(values)])
    if distinct.size <= count:
        return distinct.tolist()
    ranks = np.linspace(0, distinct.size, count + 1)[1:].round().astype(np.intp) - 1
    return distinct[ranks].tolist()


def _curves(
    table: SeedTable,
    estimates: Sequence[Estimate],
    limited: Floats,
    along: Floats,
    limits: Sequence[float] | None,
) -> tuple[Curve, ...]:
    """The curves with at least one cell; by default for some of the limits that occur."""
    asked = some_of(limited) if limits is None else limits
    curves: list[Curve] = []
    for limit in asked:
        within = np.flatnonzero((limited <= limit * (1 + 1e-9)) & np.isfinite(along))
        rows = _front(within, along, table.means)
        points = tuple(_point(table, estimates, int(row)) for row in rows)
        if points:
            curves.append(Curve(limit=float(limit), points=points))
    return tuple(curves)


def _front(rows: Ints, along: Floats, means: Floats) -> Ints:
    """The rows whose mean is above that of every row at the same or a smaller value of ``along``."""
    if not rows.size:
        return rows
    order = rows[np.lexsort((-means[rows], along[rows]))]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(means[order])[:-1]])
    return order[means[order] > before]


def _point(table: SeedTable, estimates: Sequence[Estimate], row: int) -> CurvePoint:
    return CurvePoint(
        cell=int(table.cells[row]),
        epsilon=float(table.epsilons[row]),
        compute=float(table.compute[row]),
        utility=estimates[row],
    )
