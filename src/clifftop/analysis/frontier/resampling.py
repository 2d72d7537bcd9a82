"""What other seeds might have shown: means drawn anew, by a multiplier bootstrap over the seeds.

A cell's mean is moved by ``sum_s w_s (u_s - mean) / sqrt(n (n - 1))`` with one normal weight a seed, the
same for all cells that have the seed, so cells that share data move together. Over the weights this has
the variance of a mean of n values. All moves of a draw are stretched by one ``sqrt((n - 1) / chi2)``, so
the central 95% of one cell's draws is its t-interval also with three seeds, where drawing seeds with
replacement gives intervals much too narrow. For the largest of many means see V. Chernozhukov,
D. Chetverikov, K. Kato, "Gaussian approximations and multiplier bootstrap for maxima of sums of
high-dimensional random vectors", Annals of Statistics 41 (2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import final

import numpy as np

from clifftop.analysis.frontier.table import Floats, Ints, SeedTable

_BLOCK = 100


@final
class Spread(StrEnum):
    """Where a frontier's intervals come from."""

    SEEDS = "seeds"
    """How results differ from seed to seed."""
    TEST_SET = "test set"
    """The error of a finite test set alone, since no cell has two seeds: other seeds may differ by more."""
    UNKNOWN = "unknown"
    """Nothing: one seed a cell, and a test set of unknown size or a metric that is no accuracy."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Resampling:
    """How to draw a table's means anew.

    Attributes:
        table: the cells.
        spread: what the draws stand for.
        alone: ``(K,)`` standard deviation of the moves that a cell makes by itself.
        num_test: test rows, where scores are shares of them.
    """

    table: SeedTable
    spread: Spread
    alone: Floats
    num_test: int | None = None

    @cached_property
    def shared(self) -> Floats:
        """``(K, S)``: how far a unit weight of each seed moves each mean."""
        table = self.table
        if not table.aligned:
            return np.zeros_like(table.utilities)
        n = table.counts[:, None]
        deviations = np.nan_to_num(table.utilities - table.means[:, None])
        return np.where(n > 1, deviations / np.sqrt(n * np.maximum(n - 1, 1)), 0.0)

    def error(self, a: int, b: int) -> float:
        """The standard error of the difference of two means."""
        together = ((self.shared[a] - self.shared[b]) ** 2).sum()
        return float(np.sqrt(together + self.alone[a] ** 2 + self.alone[b] ** 2))

    def draws(self, count: int, rng: np.random.Generator) -> Iterator[Floats]:
        """``(K, R)`` means at a time, ``count`` in all; none where nothing is known of the spread."""
        done = count if self.spread is Spread.UNKNOWN else 0
        while done < count:
            size = min(_BLOCK, count - done)
            yield self._block(size, rng)
            done += size

    def _block(self, size: int, rng: np.random.Generator) -> Floats:
        table = self.table
        moves = self.shared @ rng.standard_normal((table.utilities.shape[1], size))
        by_itself = np.flatnonzero(self.alone)
        if by_itself.size:
            moves[by_itself] += self.alone[by_itself, None] * rng.standard_normal((by_itself.size, size))
        return table.means[:, None] + moves * _stretch(table.counts, rng.random(size))


def resampling_of(table: SeedTable, num_test: int | None) -> Resampling:
    """The way to draw a table's means anew that its seeds, or else its test set, allow.

    A cell with one seed among cells with several is given their pooled spread. Where no cell has two
    seeds, a share of ``num_test`` rows still has its binomial error.
    """
    num_test = rows_of(table, num_test)
    repeated = table.counts > 1
    if repeated.any():
        pooled = float(np.sqrt(np.mean(table.stds[repeated] ** 2)))
        own = np.where(repeated, table.stds / np.sqrt(table.counts), pooled)
        alone = np.where(repeated & table.aligned, 0.0, own)
        return Resampling(table=table, spread=Spread.SEEDS, alone=alone, num_test=num_test)
    if num_test is None:
        return Resampling(table=table, spread=Spread.UNKNOWN, alone=np.zeros(len(table.cells)))
    # Two successes and two failures more (Agresti and Coull, 1998): all right is no proof of certainty.
    share = (np.abs(table.means) * num_test + 2) / (num_test + 4)
    alone = np.sqrt(share * (1 - share) / (num_test + 4))
    return Resampling(table=table, spread=Spread.TEST_SET, alone=alone, num_test=num_test)


def rows_of(table: SeedTable, num_test: int | None) -> int | None:
    """``num_test`` if every utility is, but for its sign, a whole number of that many rows; else None."""
    if num_test is None or num_test < 2:
        return None
    counts = np.abs(table.utilities[np.isfinite(table.utilities)]) * num_test
    whole = (np.abs(counts - counts.round()) < 1e-3) & (counts < num_test + 0.5)
    return num_test if bool(whole.all()) else None


def _stretch(counts: Ints, uniform: Floats) -> Floats:
    """``(K, R)``: what makes a normal move one of Student's t; one draw for all cells, none for one seed."""
    from scipy.special import gammaincinv

    sizes, inverse = np.unique(counts, return_inverse=True)
    dof = np.maximum(sizes - 1, 1)[:, None]
    chi2 = 2 * gammaincinv(dof / 2, np.maximum(uniform, 1e-12)[None, :])
    return np.where(sizes[:, None] > 1, np.sqrt(dof / chi2), 1.0)[inverse]
