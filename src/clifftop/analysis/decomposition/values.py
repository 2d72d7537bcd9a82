"""What is known about where the utility of private cells was lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.decomposition.parts import parts_of
from clifftop.analysis.evidence import Arm
from clifftop.analysis.inference import summarised
from clifftop.analysis.inference.held_out import fitted_estimate

if TYPE_CHECKING:
    from clifftop.analysis.evidence.cells import Scalar
    from clifftop.analysis.uncertainty import Estimate


class StoppableRun(Protocol):
    """A baseline's way through training, at its K evaluations (`clifftop.lab.reading.curves.RunCurve`)."""

    @property
    def fit(self) -> NDArray[np.float64]:
        """``(K,)`` training loss at each evaluation, smoothed as that of the private run."""
        ...

    @property
    def scores(self) -> NDArray[np.float64]:
        """``(K,)`` the metric at each evaluation."""
        ...


class TrainingFits(Protocol):
    """How well runs fitted their training data (`clifftop.lab.reading.curves.Curves`)."""

    @property
    def metric(self) -> str:
        """What the evaluations measured."""
        ...

    @property
    def fit(self) -> Mapping[str, float]:
        """By run id: training loss at the end, smoothed."""
        ...

    @property
    def baselines(self) -> Mapping[str, StoppableRun]:
        """By run id: runs that were neither clipped nor noised."""
        ...


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class CellLoss:
    """Where the utility of one private cell was lost; all numbers are losses, so that more is worse.

    U(arm) is the utility of the cell's counterpart in an arm, seed by seed, on the seeds that all its arms
    have. A part whose arm was not run is None. `addends` sum to `total` to the last bit.

    Attributes:
        cell: the private cell's place in the evidence; of a tuned loss, the one at the best learning rate.
        cells: the private cells that it speaks for: one, or one a learning rate.
        setting: that cell's.
        reference: what the total is measured against: the original model where it was run, else the
            baseline; None where neither was.
        lrs: each arm's learning rate; of a tuned loss, the one with the best mean over all seeds.
        seeds: ``(n,)`` those that all arms have; without pairing, places in the arms' own orders.
        dropped: how many seeds of the private cell are not among them.
        utilities: ``(n,)`` an arm; of a tuned loss, the mean over halvings.
        by_halving: ``(H, n)`` an arm; H is 1 but for a tuned loss (see `Decomposition.tuned`).
        num_test: test rows, where utilities are shares of them.
        total: U(reference) - U(both).
        architecture: U(original) - U(neither), what a model fit for privacy costs without any privacy.
        clipping: U(neither) - U(clipping).
        noise: U(neither) - U(noise).
        interaction: what is lost by both beyond the sum of each alone, U(clipping) + U(noise) - U(neither) -
            U(both); negative where one spares what the other costs.
        noise_given_clipping: U(clipping) - U(both): noise's part where clipping comes first.
        clipping_given_noise: U(noise) - U(both): clipping's part where noise comes first.
        shapley_clipping: clipping's part, the mean of both orders.
        shapley_noise: noise's part, the mean of both orders.
        undertraining: U(neither) - U(neither, stopped at the private run's training fit). A reading of the
            total beside the parts, not one of them.
        at_equal_fit: U(neither, stopped at the private run's training fit) - U(both).
        stopped: ``(n,)`` U(neither, stopped at the private run's training fit); NaN where it is not known.
        fits_better: seeds whose private run fits better than the baseline ever does: undertraining is 0.
        bounded: seeds whose baseline fits better at its first evaluation already: it stands for the stop,
            which lies before it. Of a tuned loss both count a seed where one halving is so.
    """

    cell: int
    cells: tuple[int, ...]
    setting: Mapping[str, Scalar]
    reference: Arm | None
    lrs: Mapping[Arm, float]
    seeds: NDArray[np.int64]
    dropped: int
    utilities: Mapping[Arm, NDArray[np.float64]]
    by_halving: Mapping[Arm, NDArray[np.float64]]
    num_test: int | None
    total: Estimate | None
    architecture: Estimate | None
    clipping: Estimate | None
    noise: Estimate | None
    interaction: Estimate | None
    noise_given_clipping: Estimate | None
    clipping_given_noise: Estimate | None
    shapley_clipping: Estimate | None
    shapley_noise: Estimate | None
    undertraining: Estimate | None = None
    at_equal_fit: Estimate | None = None
    stopped: NDArray[np.float64] | None = None
    fits_better: int = 0
    bounded: int = 0

    def by_seed(self, part: str) -> NDArray[np.float64]:
        """``(n,)`` one part, seed by seed; NaN where its arm was not run.

        Raises:
            KeyError: there is no such part.
        """
        return self._part(part, self.utilities)

    def by_seed_and_halving(self, part: str) -> NDArray[np.float64]:
        """``(H, n)`` one part; see `by_seed`."""
        return self._part(part, self.by_halving)

    def difference(self, part: str, other: str) -> Estimate | None:
        """How much more one part is than another, over seeds, with the interval that parts have.

        None where one of the two is. The values of `by_seed` would give a tuned loss too short an interval:
        seeds that are judged at a choice which others made hang together.

        Raises:
            KeyError: there is no such part.
        """
        values = self.by_seed_and_halving(part) - self.by_seed_and_halving(other)
        if np.isnan(values).any():
            return None
        if self.is_tuned:
            return fitted_estimate(values, num_test=self.num_test)
        return summarised(values[0], num_test=self.num_test)

    @property
    def is_tuned(self) -> bool:
        """Whether every arm is at the learning rate that is best for it."""
        return len(self.cells) > 1

    @property
    def undertraining_is_bound(self) -> bool:
        """Whether undertraining is at least, and the loss at equal fit at most, what is shown."""
        return self.bounded > 0

    def _part(self, part: str, utilities: Mapping[Arm, NDArray[np.float64]]) -> NDArray[np.float64]:
        missing = np.full_like(next(iter(utilities.values())), np.nan)
        return parts_of({arm: utilities.get(arm, missing) for arm in Arm})[part]

    @property
    def addends(self) -> Mapping[str, Estimate]:
        """The parts that sum to the total exactly, in order; empty where too few arms were run.

        Architecture (where there is an original), then clipping, noise and interaction; without the noise
        arm clipping, then noise given clipping; without the clipping arm noise, then clipping given noise.
        """
        if self.clipping is not None and self.noise is not None:
            names = ("clipping", "noise", "interaction")
        elif self.clipping is not None:
            names = ("clipping", "noise_given_clipping")
        else:
            names = ("noise", "clipping_given_noise")
        return self._present(names)

    @property
    def shapley_addends(self) -> Mapping[str, Estimate]:
        """The parts without an interaction, in order, exact in their sum; empty without all arms."""
        return self._present(("shapley_clipping", "shapley_noise"))

    def _present(self, names: tuple[str, ...]) -> Mapping[str, Estimate]:
        if self.reference is Arm.ORIGINAL:
            names = ("architecture", *names)
        found = {name: getattr(self, name) for name in names}
        return {} if None in found.values() else found


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Decomposition:
    """Where the utility of every private cell was lost.

    Attributes:
        fixed: by cell, every arm at the cell's own learning rate; cells without any counterpart are left out.
        tuned: by setting but the learning rate, every arm at the learning rate that is best for it. Seeds are
            halved in several ways, and each is judged at what is best on the half without it; intervals are
            those of `clifftop.analysis.inference.held_out`.
        why_not_tuned: why ``tuned`` is empty; None where it is not.
    """

    fixed: tuple[CellLoss, ...]
    tuned: tuple[CellLoss, ...]
    why_not_tuned: str | None = None

    def of(self, cell: int) -> CellLoss | None:
        """The loss of a private cell, by its place in the evidence."""
        return self._fixed.get(cell)

    def tuned_for(self, cell: int) -> CellLoss | None:
        """The loss at the best learning rates of the setting that a private cell has."""
        return self._tuned.get(cell)

    @cached_property
    def _fixed(self) -> Mapping[int, CellLoss]:
        return {loss.cell: loss for loss in self.fixed}

    @cached_property
    def _tuned(self) -> Mapping[int, CellLoss]:
        return {cell: loss for loss in self.tuned for cell in loss.cells}
