"""The best of some cells against the best of others, of one sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clifftop.analysis.evidence import Cell, Evidence
from clifftop.analysis.frontier.contest import contest
from clifftop.analysis.frontier.held_out import estimate_of, held_out
from clifftop.analysis.frontier.resampling import rows_of
from clifftop.analysis.frontier.table import shared_seeds, table_of
from clifftop.analysis.uncertainty import Estimate, estimate


def best_difference(evidence: Evidence, mine: Sequence[Cell], theirs: Sequence[Cell]) -> Estimate | None:
    """Utility of the best of ``mine`` minus that of the best of ``theirs``, both chosen on the other seeds.

    The mean is taken seed by seed. The interval holds for the best true utilities, whichever cells have
    them; that of the held-out differences themselves would be too narrow (`contest`). Without a second
    seed the difference of the best means, without an interval. None where a side has no finite score.

    >>> from clifftop.testing.frontiers import crossed, simulated_evidence
    >>> evidence = simulated_evidence(
    ...     rng=np.random.default_rng(0), epsilons=(1.0, 8.0), cells=crossed({"lr": (0.1, 0.2)}), seeds=8
    ... )
    >>> small, large = ([cell for cell in evidence.private if cell.epsilon.upper == e] for e in (1.0, 8.0))
    >>> lead = best_difference(evidence, large, small)
    >>> lead.n, lead.ci95[0] > 0
    (8, True)
    """
    sides = [[cell for cell in side if evidence.values(cell).size] for side in (mine, theirs)]
    if not all(sides):
        return None
    cells, split = [*sides[0], *sides[1]], len(sides[0])
    table = table_of(evidence, cells, levels=[0.0] * len(cells), seeds=shared_seeds(evidence))
    rows = np.arange(len(cells))
    first, second = (
        held_out(table.utilities[at], np.array([at.size]))[0] for at in (rows[:split], rows[split:])
    )
    found = estimate_of(first - second)
    if found is None:
        return estimate([float(table.means[:split].max() - table.means[split:].max())])
    return contest(table, rows[:split], rows[split:], num_test=rows_of(table, evidence.num_test)).around(
        found
    )
