"""The frontier of a sweep: what its private cells reach at each epsilon, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.frontier import budget, curves
from clifftop.analysis.frontier.band import band_of, drawn, front_of, shown_ends
from clifftop.analysis.frontier.knee import find_knee
from clifftop.analysis.frontier.resampling import Spread, resampling_of
from clifftop.analysis.frontier.table import Floats, SeedTable, private_table, shared_seeds, table_of
from clifftop.analysis.frontier.values import BandPoint, Curve, FrontierPoint, Knee, Marginal, Optimum
from clifftop.analysis.uncertainty import Estimate

DRAWS = 1000


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """Privacy against utility, for a model of one sweep.

    Utilities are those of the metric with the sign that makes more better. Epsilons are upper ends, of
    one run alone: releasing the best of several runs costs more.

    Attributes:
        metric: what utility is made of.
        maximize: whether the metric itself is better the larger it is.
        points: every private cell with a finite epsilon and a measured run, by rising epsilon.
        front: the cells on the front, by rising epsilon: nothing else does better for as little.
        band: the line of the best at or below each epsilon, with both of its ends; at most about 200
            levels.
        spread: where band and memberships come from.
        knee: where more epsilon stops paying; None where the data do not support one.
        marginal: what each step of the budget buys; by doublings where levels are many.
        unbounded: private cells whose epsilon is infinite or not known; they are part of nothing else.
        unmeasured: private cells without a measured run.
    """

    metric: str
    maximize: bool
    points: tuple[FrontierPoint, ...]
    front: tuple[int, ...]
    band: tuple[BandPoint, ...]
    spread: Spread
    knee: Knee | None
    marginal: tuple[Marginal, ...]
    unbounded: tuple[int, ...]
    unmeasured: tuple[int, ...]
    _table: SeedTable = field(repr=False)
    _baselines: SeedTable = field(repr=False)
    _estimates: tuple[Estimate, ...] = field(repr=False)
    _num_test: int | None = field(repr=False)

    def optimum(self, epsilon: float) -> Optimum | None:
        """The best cell whose epsilon is at most ``epsilon``; None where there is none."""
        end = self._table.up_to(epsilon)
        return budget.optimum_of(self._table, end, self._estimates, self._num_test)

    def cost_at(self, epsilon: float) -> Estimate | None:
        """What privacy costs in utility at most at ``epsilon``: the best baseline minus the best cell.

        Both are chosen on the other seeds and compared seed by seed; the interval holds for the best of
        each, whichever they are. Positive where privacy costs. None where there is no cell within
        ``epsilon``, or no baseline.
        """
        end = self._table.up_to(epsilon)
        return budget.cost_of(self._table, end, self._baselines, self._num_test)

    def buys(self, epsilon_low: float, epsilon_high: float) -> Marginal | None:
        """What raising the budget from one epsilon to another buys.

        None where the sweep cannot tell: no cell within ``epsilon_low``, or none between the two.
        """
        low, high = self._table.up_to(epsilon_low), self._table.up_to(epsilon_high)
        if not 0 < low < high:
            return None
        return budget.marginals_of(self._table, np.array([low, high], dtype=np.intp), self._num_test)[0]

    def iso_compute(self, limits: Sequence[float] | None = None) -> tuple[Curve, ...]:
        """The front of the cells within each limit on compute; by default six of the computes that occur.

        Compute is the number of examples that a run processes: steps times expected batch size.
        """
        return curves.over_epsilon(self._table, self._estimates, limits)

    def iso_epsilon(self, limits: Sequence[float] | None = None) -> tuple[Curve, ...]:
        """Utility against compute within each limit on epsilon; by default six of the levels that occur."""
        return curves.over_compute(self._table, self._estimates, limits)

    def in_metric(self, utility: float) -> float:
        """A utility as a value of the metric."""
        return utility if self.maximize else -utility


def find_frontier(evidence: Evidence, *, rng_seed: int = 0, draws: int = DRAWS) -> Frontier:
    """The frontier of the private cells.

    Args:
        evidence: of a sweep. Runs that diverged count with what they measured; what is not finite is
            left out.
        rng_seed: of the draws behind the memberships and the knee's interval.
        draws: how many.
    """
    table = private_table(evidence)
    estimates = table.estimates()
    resampling = resampling_of(table, evidence.num_test)
    on_front = front_of(table.means[:, None], table.ends)[:, 0]
    shown = shown_ends(table, on_front)
    again = drawn(resampling, shown, count=draws, rng=np.random.default_rng(rng_seed))
    known = set(table.cells.tolist())
    apart = [cell for cell in evidence.private if cell.index not in known]
    unmeasured = tuple(cell.index for cell in apart if not evidence.values(cell).size)
    return Frontier(
        metric=evidence.metric,
        maximize=evidence.maximize,
        points=_points(table, estimates, on_front, again.membership),
        front=tuple(table.cells[on_front].tolist()),
        band=band_of(resampling, shown),
        spread=resampling.spread,
        knee=find_knee(table, shown, again.lines),
        marginal=budget.marginals_of(table, budget.steps_of(table), resampling.num_test),
        unbounded=tuple(cell.index for cell in apart if cell.index not in unmeasured),
        unmeasured=unmeasured,
        _table=table,
        _baselines=baseline_table(evidence),
        _estimates=estimates,
        _num_test=resampling.num_test,
    )


def _points(
    table: SeedTable, estimates: Sequence[Estimate], on_front: NDArray[np.bool_], membership: Floats | None
) -> tuple[FrontierPoint, ...]:
    shares = [None] * len(estimates) if membership is None else membership.tolist()
    columns = (table.cells.tolist(), table.epsilons.tolist(), table.compute.tolist(), on_front.tolist())
    return tuple(
        FrontierPoint(
            cell=cell, epsilon=epsilon, utility=utility, compute=compute, on_front=front, membership=share
        )
        for cell, epsilon, compute, front, utility, share in zip(*columns, estimates, shares, strict=True)
    )


def baseline_table(evidence: Evidence) -> SeedTable:
    """The cells trained without privacy, with the columns of `private_table`."""
    cells = [cell for cell in evidence.of(Arm.NEITHER) if evidence.values(cell).size]
    return table_of(evidence, cells, levels=[0.0] * len(cells), seeds=shared_seeds(evidence))
