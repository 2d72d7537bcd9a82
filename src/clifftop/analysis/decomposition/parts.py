"""The parts of a loss, in exact arithmetic, for many cells at once.

Utilities are first rounded to whole multiples of a power of two so small that no comparison notices (for a
thousand seeds 2e-12 of a cell's largest utility) and so large that every difference and sum which follows
fits the 53 bits of a float. Sums of parts are then exact, in whatever order they are taken. Means are
rounded to the same multiples, arm by arm, before their differences are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.evidence import Arm
from clifftop.analysis.inference.floors import least_sd
from clifftop.analysis.uncertainty import Estimate, t_half_width

Floats = NDArray[np.float64]
Column = list[Estimate | None]
"""One entry a cell."""

PARTS = (
    "total",
    "architecture",
    "clipping",
    "noise",
    "interaction",
    "noise_given_clipping",
    "clipping_given_noise",
    "shapley_clipping",
    "shapley_noise",
)
_FLOAT_BITS = 53
_WHOLE = 1e-3  # how near a count of test rows is to a whole number
_HEADROOM = 4  # an interaction is at most four utilities; halves are taken for Shapley's parts


def parts_of(utility: Mapping[Arm, Floats]) -> dict[str, Floats]:
    """Each of `PARTS` from the arms' utilities, which broadcast; NaN where an arm is."""
    both, neither = utility[Arm.BOTH], utility[Arm.NEITHER]
    clipped, noised, original = utility[Arm.CLIPPING], utility[Arm.NOISE], utility[Arm.ORIGINAL]
    clipping, noise = neither - clipped, neither - noised
    noise_given_clipping, clipping_given_noise = clipped - both, noised - both
    return {
        "total": np.where(np.isnan(original), neither, original) - both,
        "architecture": original - neither,
        "clipping": clipping,
        "noise": noise,
        "interaction": noise_given_clipping - noise,
        "noise_given_clipping": noise_given_clipping,
        "clipping_given_noise": clipping_given_noise,
        "shapley_clipping": (clipping + clipping_given_noise) / 2,
        "shapley_noise": (noise + noise_given_clipping) / 2,
    }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Ragged:
    """Values ``(..., M)`` of many cells one after another, each with its own number of seeds.

    There may be axes before: a value a halving, where seeds are halved (`decomposition.tuning`).

    Attributes:
        counts: ``(cells,)`` how many values a cell has, all > 0.
        starts: ``(cells,)`` where they begin.
    """

    counts: NDArray[np.int64]
    starts: NDArray[np.int64]

    @staticmethod
    def of(rows: Sequence[NDArray[np.generic]]) -> Ragged:
        """The shape of ``(n,)`` rows that are to be concatenated."""
        counts = np.array([row.size for row in rows], dtype=np.int64)
        return Ragged(counts=counts, starts=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64))

    @property
    def size(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    def sums(self, values: Floats) -> Floats:
        """``(..., cells)`` sums, NaN counting as 0."""
        return np.add.reduceat(np.nan_to_num(values), self.starts, axis=-1)

    def spread(self, per_cell: Floats) -> Floats:
        """Numbers ``(..., cells)``, repeated for each cell's values."""
        return np.repeat(per_cell, self.counts, axis=-1)

    def all(self, holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """``(cells,)`` whether something holds for every value of a cell."""
        return np.logical_and.reduceat(np.atleast_2d(holds).all(axis=0), self.starts)

    def largest(self, values: Floats) -> Floats:
        """``(cells,)`` largest absolute values, NaN counting as 0."""
        return np.maximum.reduceat(np.abs(np.nan_to_num(np.atleast_2d(values))).max(axis=0), self.starts)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """What the arithmetic needs to know about every cell.

    Attributes:
        shape: how many seeds each has.
        units: ``(cells,)`` powers of two of which its values are to be whole multiples.
        shares: ``(cells,)`` whether its values are shares of ``num_test`` test rows.
        num_test: test rows; None where no cell's values are shares.
        widening: by how much intervals are wider because of how values came about.
    """

    shape: Ragged
    units: Floats
    shares: NDArray[np.bool_]
    num_test: int | None
    widening: float

    @staticmethod
    def of(
        shape: Ragged,
        arms: Mapping[Arm, Floats],
        others: Sequence[Floats] = (),
        *,
        num_test: int | None = None,
        widening: float = 1.0,
    ) -> Cells:
        """From the utilities of the arms, and from others that will be compared with them."""
        largest, shares = np.zeros(shape.counts.size), np.ones(shape.counts.size, dtype=np.bool_)
        for values in (*arms.values(), *others):
            largest = np.fmax(largest, shape.largest(values))
        count = num_test or 0
        for values in arms.values():
            rows = np.abs(np.nan_to_num(values)) * count
            shares &= shape.all((np.abs(rows - rows.round()) < _WHOLE) & (rows < count + _WHOLE))
        _, exponent = np.frexp(largest)
        _, seeds = np.frexp(shape.counts.astype(np.float64))
        units = np.ldexp(1.0, exponent + seeds + _HEADROOM - _FLOAT_BITS)
        return Cells(shape=shape, units=units, shares=shares, num_test=num_test, widening=widening)

    def least_sd(self, means: Floats) -> Floats:
        """``(cells,)`` the least standard deviation that differences with these means can honestly have."""
        if self.num_test is None or self.num_test < 2:
            return np.zeros(means.size)
        return np.where(self.shares, least_sd(np.nan_to_num(means), self.num_test), 0.0)


def in_units(values: Floats, units: Floats) -> Floats:
    """Even whole numbers of units next to ``values``, so that their halves are whole too.

    >>> in_units(np.array([0.3, 7.9]), np.array([0.25, 0.25])).tolist()
    [2.0, 32.0]
    """
    return 2 * np.rint(values / (2 * units))


def estimates(cells: Cells, arms: Mapping[Arm, Floats], names: Sequence[str]) -> dict[str, Column]:
    """Each named part of every cell, as an estimate over the seeds at which its arms are known.

    Intervals are those of `clifftop.analysis.inference.summarised`, or `fitted_estimate` for halved seeds:
    never narrower than finitely many test rows allow.

    Args:
        cells: their shape and units.
        arms: ``(H, M)`` utilities in units, one a halving; an arm that a cell lacks is NaN throughout.
        names: some of `PARTS`.
    """
    overall = {arm: over_halvings(values) for arm, values in arms.items()}
    means = parts_of({arm: _means(cells.shape, values) for arm, values in overall.items()})
    by_seed, by_halving = parts_of(overall), parts_of(arms)
    return {name: _estimates(cells, means[name], by_seed[name], by_halving[name]) for name in names}


def over_halvings(values: Floats) -> Floats:
    """``(M,)`` means over halvings of ``(H, M)`` values in units, in even units again."""
    return values[0] if len(values) == 1 else 2 * np.rint(values.mean(axis=0) / 2)


def _means(shape: Ragged, values: Floats) -> Floats:
    """The mean of each cell in even units; NaN where the cell has no value."""
    known = shape.sums(np.isfinite(values).astype(np.float64))
    with np.errstate(invalid="ignore"):
        return 2 * np.rint(shape.sums(values) / known / 2)


def _estimates(cells: Cells, means: Floats, by_seed: Floats, by_halving: Floats) -> Column:
    shape, mean = cells.shape, means * cells.units
    known = shape.sums(np.isfinite(by_seed).astype(np.float64))
    if not known.any():
        return [None] * known.size
    with np.errstate(invalid="ignore", divide="ignore"):
        std = np.sqrt(shape.sums((by_seed - shape.spread(means)) ** 2) / known) * cells.units
        around = by_halving - shape.spread(shape.sums(by_halving) / known)
        variance = (shape.sums(around**2) / (known - 1)).mean(axis=0)
        sample = np.maximum(cells.widening * np.sqrt(variance) * cells.units, cells.least_sd(mean))
    half = sample * _half_widths(known)
    columns = (mean, std, known, mean - half, mean + half)
    return [
        None if n == 0 else Estimate(mean=m, std=s, n=int(n), ci95=(low, high) if n > 1 else None)
        for m, s, n, low, high in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _half_widths(counts: Floats) -> Floats:
    distinct, which = np.unique(counts, return_inverse=True)
    return np.array([_half_width(int(n)) for n in distinct])[which]


@cache
def _half_width(n: int) -> float:
    return t_half_width(std=1.0, n=n) if n > 1 else np.nan
