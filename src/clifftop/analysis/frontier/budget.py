"""What a budget buys: the optimum within it, what it costs against no privacy, what more of it would buy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clifftop.analysis.frontier.contest import Lead, best_between, contest, eligible
from clifftop.analysis.frontier.held_out import estimate_of, held_out, running_choice
from clifftop.analysis.frontier.table import Floats, Ints, SeedTable, stacked
from clifftop.analysis.frontier.values import Marginal, Optimum
from clifftop.analysis.inference import summarised
from clifftop.analysis.uncertainty import Estimate, estimate

_FEW_STEPS = 12
_DOUBLING = 2.0


def optimum_of(
    table: SeedTable, end: int, estimates: Sequence[Estimate], num_test: int | None
) -> Optimum | None:
    """The best of the first ``end`` cells; None where there is none.

    A cell with too few seeds beside the others is not chosen: its luck cannot be judged (`eligible`).
    """
    if not end:
        return None
    allowed = eligible(table.counts[:end])
    order = np.argsort(-np.where(allowed, table.means[:end], -np.inf), kind="stable")
    row, second = int(order[0]), int(order[1]) if allowed.sum() > 1 else None
    (outside,) = held_out(table.utilities, np.array([end]))
    found = estimate_of(outside)
    return Optimum(
        cell=int(table.cells[row]),
        epsilon=float(table.epsilons[row]),
        utility=estimates[row],
        held_out=None if found is None else best_between(table, np.arange(end)).around(found),
        runner_up=None if second is None else int(table.cells[second]),
        margin=None if second is None else _margin(table.utilities[[row, second]], num_test),
        candidates=int(allowed.sum()),
    )


def _margin(pair: Floats, num_test: int | None) -> Estimate | None:
    apart = pair[0] - pair[1]
    return summarised(apart, num_test=num_test) if np.isfinite(apart).any() else None


def cost_of(table: SeedTable, end: int, baselines: SeedTable, num_test: int | None) -> Estimate | None:
    """The best baseline minus the best of the first ``end`` cells, each chosen on the other seeds.

    Without a second seed, the difference of the best means, without an interval.
    """
    if not end or not baselines.cells.size:
        return None
    both = stacked(baselines, table.first(end), paired=True)
    split = len(baselines.cells)
    rows = np.arange(len(both.cells))
    lead = contest(both, rows[:split], rows[split:], num_test=num_test)
    (without,) = held_out(both.utilities[:split], np.array([split]))
    (private,) = held_out(both.utilities[split:], np.array([end]))
    paired = estimate_of(without - private)
    if paired is None:
        return estimate([float(baselines.means.max() - table.means[:end].max())])
    return lead.around(paired)


def steps_of(table: SeedTable) -> Ints:
    """Between which levels a gain is told, as ends: from level to level, or about doublings where many."""
    if table.ends.size <= _FEW_STEPS + 1:
        return table.ends
    kept: list[int] = []
    levels = table.levels[table.ends - 1]
    for at, level in enumerate(levels.tolist()):
        if not kept or level >= _DOUBLING * levels[kept[-1]]:
            kept.append(at)
    return table.ends[kept]


def marginals_of(table: SeedTable, ends: Ints, num_test: int | None) -> tuple[Marginal, ...]:
    """What each step from end to end buys: what it adds, against all that was there before."""
    if ends.size < 2:
        return ()
    outside = held_out(table.utilities, ends)
    return tuple(
        _marginal(
            table,
            ends[i : i + 2],
            outside[i : i + 2],
            contest(table, np.arange(low, high), np.arange(low), num_test=num_test),
        )
        for i, (low, high) in enumerate(itertools.pairwise(ends.tolist()))
    )


def _marginal(table: SeedTable, ends: Ints, outside: Floats, lead: Lead) -> Marginal:
    rows = running_choice(table.means[:, None])[ends - 1, 0]
    found = estimate_of(outside[1] - outside[0])
    if found is None:
        gain = estimate([float(table.means[rows[1]] - table.means[rows[0]])])
    else:
        # What a small budget allows can still be used: more of it never buys less.
        gain = lead.at_least_zero().around(replace(found, mean=max(found.mean, 0.0)))
    return Marginal(
        epsilon_low=float(table.levels[ends[0] - 1]),
        epsilon_high=float(table.levels[ends[1] - 1]),
        cell_low=int(table.cells[rows[0]]),
        cell_high=int(table.cells[rows[1]]),
        gain=gain,
        p_value=lead.p_more,
    )
