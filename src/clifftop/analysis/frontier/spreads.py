"""How far the means of cells may lie from the truth, learned from all cells that compete.

Three seeds hardly show the spread of one cell: its t-interval is four standard errors to either side, and
the best of ten cells needs fourteen. But a sweep has many cells, and what a seed does to all of them can
be told from what it does to each. So the variance of a difference between a cell of one side and a cell of
the other is put together from the spread of the sides' column means, with the degrees of freedom of its
seeds, and of what each cell has to itself, moderated: drawn towards the common value as far as the cells'
variances agree with each other (G. K. Smyth, "Linear models and empirical Bayes methods for assessing
differential expression in microarray experiments", SAGMB 3, 2004). Degrees of freedom of sums are those of
Satterthwaite (1946). With one cell a side this is the paired, or Welch's, t-test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.analysis.frontier.table import Floats, Ints, SeedTable

_ENOUGH = 0.5
_LEAST = 1e-3
_FEWEST = 3
_STEPS = np.array([*range(1, 13), 15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500, 1000, 10_000])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class OwnSpread:
    """What the cells of one side have to themselves.

    Attributes:
        variances: ``(K,)`` of the mean of each, beyond that of the side's column means.
        dof: their degrees of freedom.
    """

    variances: Floats
    dof: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """Standard errors of means or of differences of means.

    Attributes:
        errors: ``(B,)``.
        dofs: ``(B,)`` degrees of freedom.
        n: seeds.
    """

    errors: Floats
    dofs: Ints
    n: int


def errors_of_differences(table: SeedTable, own: Ints, other: Ints) -> Errors:
    """Of the difference between the first of ``own`` and each of ``other``; all with two runs or more."""
    first, second, paired = _columns(table, own, other)
    mine, theirs = own_spread(first), own_spread(second)
    n = min(first.shape[1], second.shape[1])
    if paired:
        shared = [(_variance_of_mean(first.mean(axis=0) - second.mean(axis=0)), n - 1)]
    else:
        shared = [(_variance_of_mean(side.mean(axis=0)), side.shape[1] - 1) for side in (first, second)]
    parts: list[tuple[float | Floats, float]] = [
        *shared,
        (float(mine.variances[0]), mine.dof),
        (theirs.variances, theirs.dof),
    ]
    return _summed(parts, len(other), n)


def errors_of_means(table: SeedTable, rows: Ints) -> Errors:
    """Of the mean of each row."""
    columns, _, _ = _columns(table, rows, rows[:1])
    spread = own_spread(columns)
    n = columns.shape[1]
    parts: list[tuple[float | Floats, float]] = [
        (_variance_of_mean(columns.mean(axis=0)), n - 1),
        (spread.variances, spread.dof),
    ]
    return _summed(parts, len(rows), n)


def own_spread(columns: Floats) -> OwnSpread:
    """From the values of one side, ``(K, n)``, after what its columns have in common."""
    cells, n = columns.shape
    if cells == 1:
        return OwnSpread(variances=np.zeros(1), dof=1.0)
    rest = columns - columns.mean(axis=1, keepdims=True)
    rest -= rest.mean(axis=0)
    found = (rest**2).sum(axis=1) / (n - 1) * cells / (cells - 1)
    variances, dof = moderated(found, n - 1)
    return OwnSpread(variances=variances * (1 - 1 / cells) / n, dof=min(dof, float((n - 1) * (cells - 1))))


def moderated(variances: Floats, dof: int) -> tuple[Floats, float]:
    """Variances drawn together as far as they agree, and the degrees of freedom that they then have.

    Their logarithms spread by ``trigamma(dof / 2)`` where all are equal in truth; what they spread beyond it
    says how far one informs another.

    >>> drawn, dof = moderated(np.array([1.0, 1.2, 0.9, 1.1]), 2)
    >>> print(drawn, dof)
    [1.05 1.05 1.05 1.05] inf
    """
    from scipy.special import digamma, polygamma

    mean = float(variances.mean())
    if variances.size < _FEWEST or mean == 0:
        return variances, float(dof)
    logs = np.log(np.maximum(variances, _LEAST * mean)) - digamma(dof / 2) + np.log(dof / 2)
    beyond = float(logs.var(ddof=1) - polygamma(1, dof / 2))
    if beyond <= 0:
        return np.full(variances.size, mean), np.inf
    half = _inverse_trigamma(beyond)
    common = float(np.exp(logs.mean() + digamma(half) - np.log(half)))
    return (2 * half * common + dof * variances) / (2 * half + dof), 2 * half + dof


def _inverse_trigamma(value: float) -> float:
    """Where ``trigamma`` has this value, by Newton's method as Smyth gives it."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


def _columns(table: SeedTable, own: Ints, other: Ints) -> tuple[Floats, Floats, bool]:
    """Both sides' values without gaps, and whether their columns are the same seeds."""
    both = np.concatenate([own, other])
    complete = _complete(table, both)
    if table.aligned and complete.size:
        return table.utilities[own][:, complete], table.utilities[other][:, complete], True
    first, second = (_without_gaps(table, rows) for rows in (own, other))
    return first, second, False


def _complete(table: SeedTable, rows: Ints) -> Ints:
    """The columns that all rows have, if they are at least two and half of the most that one row has."""
    found = np.flatnonzero(np.isfinite(table.utilities[rows]).all(axis=0))
    return found if found.size >= max(2, _ENOUGH * table.counts[rows].max()) else found[:0]


def _without_gaps(table: SeedTable, rows: Ints) -> Floats:
    """``(K, n)``: the columns that all have; if these are few, each row's first n values."""
    complete = _complete(table, rows)
    if complete.size:
        return table.utilities[rows][:, complete]
    n = int(table.counts[rows].min())
    return np.stack([table.utilities[row][np.isfinite(table.utilities[row])][:n] for row in rows])


def _variance_of_mean(values: Floats) -> float:
    return float(values.var(ddof=1)) / values.size


def _summed(parts: Sequence[tuple[float | Floats, float]], size: int, n: int) -> Errors:
    """The root of the sum of variances, each with its degrees of freedom, rounded down to one of a few."""
    variances = np.stack([np.broadcast_to(np.asarray(variance), (size,)) for variance, _ in parts])
    dofs = np.array([[dof] for _, dof in parts], dtype=np.float64)
    total = variances.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = total**2 / (variances**2 / dofs).sum(axis=0)
    whole = np.clip(np.nan_to_num(found, nan=n - 1), n - 1, _STEPS[-1]) + 1e-9
    stepped = np.maximum(_STEPS[np.searchsorted(_STEPS, whole, side="right") - 1], n - 1)
    return Errors(errors=np.sqrt(total), dofs=stepped.astype(np.intp), n=n)
