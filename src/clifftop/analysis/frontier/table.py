"""Cells against seeds, as one array: what every question about a frontier is asked of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.evidence import Cell, Evidence
from clifftop.analysis.uncertainty import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_SAME_TARGET = 0.01  # calibration ends this close to the epsilon that was asked for
_FILLED = 0.5
_DIGITS = 12  # two means that differ by rounding are equal


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SeedTable:
    """K cells by rising level of epsilon, against S columns of seeds.

    Attributes:
        cells: ``(K,)`` their places in the evidence.
        epsilons: ``(K,)`` upper ends; NaN for cells that have none.
        levels: ``(K,)`` the epsilon at which a cell may be compared with others (`level_of`).
        compute: ``(K,)`` examples that one run processes.
        utilities: ``(K, S)`` more is better; NaN where nothing finite was measured.
        aligned: whether a column is one seed that the cells share. If not, column j holds every cell's
            j-th seed, and two entries of a column are independent.
    """

    cells: Ints
    epsilons: Floats
    levels: Floats
    compute: Floats
    utilities: Floats
    aligned: bool

    @cached_property
    def counts(self) -> Ints:
        """``(K,)`` measured runs a cell, at least 1."""
        return np.isfinite(self.utilities).sum(axis=1)

    @cached_property
    def means(self) -> Floats:
        """``(K,)`` over what was measured, to twelve decimals."""
        return (np.nansum(self.utilities, axis=1) / self.counts).round(_DIGITS)

    @cached_property
    def stds(self) -> Floats:
        """``(K,)`` of the sample (``ddof = 1``); NaN below two runs."""
        squares = np.nansum((self.utilities - self.means[:, None]) ** 2, axis=1)
        return np.sqrt(np.where(self.counts > 1, squares, np.nan) / np.maximum(self.counts - 1, 1))

    @cached_property
    def ends(self) -> Ints:
        """``(L,)`` how many cells lie at or below each distinct level."""
        if not self.levels.size:
            return np.empty(0, dtype=np.intp)
        return np.append(np.flatnonzero(np.diff(self.levels)) + 1, self.levels.size)

    def up_to(self, epsilon: float) -> int:
        """How many cells may be used by who can spend ``epsilon``; rounding is forgiven."""
        return int(np.searchsorted(self.levels, epsilon * (1 + 1e-9), side="right"))

    def first(self, end: int) -> SeedTable:
        """The table of the first ``end`` cells."""
        return SeedTable(
            cells=self.cells[:end],
            epsilons=self.epsilons[:end],
            levels=self.levels[:end],
            compute=self.compute[:end],
            utilities=self.utilities[:end],
            aligned=self.aligned,
        )

    def estimates(self) -> tuple[Estimate, ...]:
        """The mean of each cell with its t-interval, as `clifftop.analysis.estimate` gives it."""
        from scipy.special import stdtrit

        dof = np.maximum(self.counts - 1, 1)
        half = stdtrit(dof, 0.975) * self.stds / np.sqrt(self.counts)
        population = np.nan_to_num(self.stds) * np.sqrt(dof / self.counts)
        rows = zip(self.means.tolist(), population.tolist(), self.counts.tolist(), half.tolist(), strict=True)
        return tuple(
            Estimate(mean=mean, std=std if n > 1 else 0.0, n=n, ci95=(mean - h, mean + h) if n > 1 else None)
            for mean, std, n, h in rows
        )


def private_table(evidence: Evidence) -> SeedTable:
    """The private cells with a finite epsilon and at least one measured run."""
    cells = [cell for cell in evidence.private if _has_place(evidence, cell)]
    levels = level_of(cells)
    order = sorted(range(len(cells)), key=lambda at: (levels[at], _upper(cells[at]), cells[at].index))
    chosen = [cells[at] for at in order]
    return table_of(evidence, chosen, levels=[levels[at] for at in order], seeds=shared_seeds(evidence))


def table_of(
    evidence: Evidence, cells: Sequence[Cell], *, levels: Sequence[float], seeds: NDArray[np.int64] | None
) -> SeedTable:
    """The table of some cells, in their order.

    Args:
        evidence: whose cells they are.
        cells: each with at least one measured run.
        levels: ``(K,)``, rising.
        seeds: ``(S,)`` a column each; None puts every cell's seeds one behind the other.
    """
    width = max((cell.seeds.size for cell in cells), default=0) if seeds is None else seeds.size
    utilities = np.full((len(cells), width), np.nan)
    sign = 1.0 if evidence.maximize else -1.0
    for row, cell in enumerate(cells):
        own, values = evidence.measured(cell)
        at = slice(values.size) if seeds is None else np.searchsorted(seeds, own)
        utilities[row, at] = sign * values
    return SeedTable(
        cells=np.array([cell.index for cell in cells], dtype=np.intp),
        epsilons=np.array([_upper(cell) for cell in cells], dtype=np.float64),
        levels=np.array(levels, dtype=np.float64),
        compute=np.array([cell.compute for cell in cells], dtype=np.float64),
        utilities=utilities,
        aligned=seeds is not None,
    )


def stacked(a: SeedTable, b: SeedTable, *, paired: bool) -> SeedTable:
    """The cells of both, one behind the other.

    Args:
        a: some cells.
        b: others, possibly of another sweep.
        paired: whether the columns of both are the same seeds of the same data, so that their cells move
            together; else the columns of ``b`` stand beside those of ``a``.
    """
    width = max(a.utilities.shape[1], b.utilities.shape[1])
    shift = 0 if paired else a.utilities.shape[1]
    utilities = np.full(
        (len(a.cells) + len(b.cells), width if paired else shift + b.utilities.shape[1]), np.nan
    )
    utilities[: len(a.cells), : a.utilities.shape[1]] = a.utilities
    utilities[len(a.cells) :, shift : shift + b.utilities.shape[1]] = b.utilities
    return SeedTable(
        cells=np.concatenate([a.cells, b.cells]),
        epsilons=np.concatenate([a.epsilons, b.epsilons]),
        levels=np.concatenate([a.levels, b.levels]),
        compute=np.concatenate([a.compute, b.compute]),
        utilities=utilities,
        aligned=a.aligned and b.aligned,
    )


def shared_seeds(evidence: Evidence) -> NDArray[np.int64] | None:
    """The seeds of all cells, rising, if runs may be compared seed by seed; else None.

    They may not where the sweep gave every run a seed of its own, even if it is not marked so.
    """
    if not evidence.paired:
        return None
    own = [cell.seeds for cell in evidence.private]
    if not own:
        return np.unique(np.concatenate([cell.seeds for cell in evidence.cells] or [np.empty(0, np.int64)]))
    private = np.unique(np.concatenate(own))
    filled = sum(seeds.size for seeds in own) / max(private.size * len(own), 1)
    if filled < _FILLED:
        return None
    return np.unique(np.concatenate([cell.seeds for cell in evidence.cells]))


def level_of(cells: Sequence[Cell]) -> list[float]:
    """The epsilon at which each cell may be compared with others.

    Calibration ends a little below the epsilon that was asked for, in each setting elsewhere. Cells that
    were calibrated for one ``target_epsilon`` share a level: the largest of their upper ends.
    """
    found = [_upper(cell) for cell in cells]
    levels: dict[float, float] = {}
    targets = [_target(cell) for cell in cells]
    for target, upper in zip(targets, found, strict=True):
        if target is not None:
            levels[target] = max(levels.get(target, 0.0), upper)
    return [upper if target is None else levels[target] for target, upper in zip(targets, found, strict=True)]


def _target(cell: Cell) -> float | None:
    target = cell.number("target_epsilon")
    near = target is not None and abs(_upper(cell) - target) <= _SAME_TARGET * target
    return target if near else None


def _upper(cell: Cell) -> float:
    return np.nan if cell.epsilon is None else cell.epsilon.upper


def _has_place(evidence: Evidence, cell: Cell) -> bool:
    return bool(np.isfinite(_upper(cell))) and evidence.values(cell).size > 0
