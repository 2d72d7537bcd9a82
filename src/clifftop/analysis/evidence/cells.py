"""Cells of a sweep: one setting each, measured once a seed, beside the arms that explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.vocabulary import Arm

Scalar = str | int | float | bool | None

NOISE_SETTINGS = frozenset({"noise_multiplier", "target_epsilon"})
CLIPPING_SETTINGS = frozenset({"clip_norm", "clipping"})


_FREE: Mapping[Arm, frozenset[str]] = {
    Arm.BOTH: frozenset(),
    Arm.NEITHER: NOISE_SETTINGS | CLIPPING_SETTINGS,
    Arm.CLIPPING: NOISE_SETTINGS,
    Arm.NOISE: frozenset({"target_epsilon", "clipping"}),
    Arm.ORIGINAL: NOISE_SETTINGS | CLIPPING_SETTINGS | {"model"},
}
"""Settings that an arm does not share with the private runs that it stands beside."""


@final
@dataclass(frozen=True, kw_only=True)
class Epsilon:
    """An interval that holds the true epsilon of one run alone; ``upper`` is the one to report."""

    lower: float
    upper: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One setting and what its runs measured; n of them, one a seed.

    Attributes:
        index: its place in `Evidence.cells`.
        arm: what was done to the gradients.
        setting: every setting but the seed, by name.
        epsilon: of one run alone; None for an arm that is not private.
        published: an epsilon that was once published for this setting; for comparison only.
        seeds: ``(n,)``, rising, each once.
        scores: ``(n,)`` a metric; NaN where it is not known or not finite.
        diverged: ``(n,)`` whether a run diverged; it counts with what it measured.
        compute: examples that a run processes: steps times expected batch size.
        runs: ``(n,)`` the runs' ids.
    """

    index: int
    arm: Arm
    setting: Mapping[str, Scalar]
    epsilon: Epsilon | None
    published: float | None = None
    seeds: NDArray[np.int64]
    scores: Mapping[str, NDArray[np.float64]]
    diverged: NDArray[np.bool_]
    compute: float
    runs: tuple[str, ...] = ()

    def number(self, name: str) -> float | None:
        """A setting as a number, None where it is none."""
        value = self.setting.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """The cells of a sweep, and what all of them share.

    Attributes:
        name: of the sweep.
        metric: what cells are compared by.
        maximize: whether more of it is better.
        cells: of all arms.
        delta: at which the epsilons hold; None where no cell has one.
        neighboring_relation: for which they hold.
        num_test: test rows behind one score, None where it is not known.
        paired: whether runs of one seed share data, initialisation and batches, so that differences
            between cells are taken seed by seed.
        axes: the settings with more than one value among the private cells.
    """

    name: str
    metric: str
    maximize: bool
    cells: tuple[Cell, ...]
    delta: float | None = None
    neighboring_relation: str | None = None
    num_test: int | None = None
    paired: bool = True
    axes: tuple[str, ...] = ()

    def of(self, arm: Arm) -> tuple[Cell, ...]:
        """The cells of one arm, in order."""
        return self._by_arm.get(arm, ())

    @property
    def private(self) -> tuple[Cell, ...]:
        """The cells that have an epsilon: those of `Arm.BOTH`."""
        return self.of(Arm.BOTH)

    @property
    def num_seeds(self) -> int:
        """The most seeds that any private cell has; 0 without one."""
        return max((cell.seeds.size for cell in self.private), default=0)

    def measured(
        self, cell: Cell, metric: str | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Seeds ``(m,)`` and finite values ``(m,)`` of a metric, by default of `metric`; m may be 0."""
        values = cell.scores.get(metric or self.metric)
        if values is None:
            return cell.seeds[:0], np.empty(0)
        known = np.isfinite(values)
        return cell.seeds[known], values[known]

    def values(self, cell: Cell) -> NDArray[np.float64]:
        """The finite values of `metric`, ``(m,)``."""
        return self.measured(cell)[1]

    def utilities(self, cell: Cell) -> NDArray[np.float64]:
        """`values` with the sign that makes more better."""
        values = self.values(cell)
        return values if self.maximize else -values

    def differences(self, a: Cell, b: Cell, metric: str | None = None) -> NDArray[np.float64]:
        """``a - b`` of a metric on the seeds that both have measured, ``(m,)`` by rising seed."""
        seeds_a, values_a = self.measured(a, metric)
        seeds_b, values_b = self.measured(b, metric)
        _, in_a, in_b = np.intersect1d(seeds_a, seeds_b, assume_unique=True, return_indices=True)
        return values_a[in_a] - values_b[in_b]

    def counterpart(self, cell: Cell, arm: Arm) -> Cell | None:
        """The cell of ``arm`` that differs from a private cell in nothing but what the arm leaves out.

        None where there is none. The counterpart of a cell in its own arm is the cell.
        """
        return cell if cell.arm is arm else self._counterparts.get((arm, _key(cell.setting, arm)))

    @cached_property
    def _by_arm(self) -> Mapping[Arm, tuple[Cell, ...]]:
        return {arm: tuple(cell for cell in self.cells if cell.arm is arm) for arm in Arm}

    @cached_property
    def _counterparts(self) -> Mapping[tuple[Arm, tuple[tuple[str, Scalar], ...]], Cell]:
        return {(cell.arm, _key(cell.setting, cell.arm)): cell for cell in reversed(self.cells)}


def _key(setting: Mapping[str, Scalar], arm: Arm) -> tuple[tuple[str, Scalar], ...]:
    """What a private cell and its counterpart of ``arm`` have in common."""
    free = _FREE[arm]
    model_is_free = "model" in free
    return tuple(
        sorted(
            (name, value)
            for name, value in setting.items()
            if value is not None and name not in free and not (model_is_free and name.startswith("model."))
        )
    )
