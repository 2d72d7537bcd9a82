"""Utility by level of privacy: one setting's, or that of the best setting, chosen without looking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.evidence.cells import NOISE_SETTINGS, Arm
from clifftop.analysis.inference import cross_fitted, rows_behind, utilities

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

SAME_LEVEL = 1.01
"""Epsilons closer than this factor are one level."""
MOST_LEVELS = 24


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """Utility at rising epsilon, seed by seed.

    Attributes:
        epsilons: ``(L,)``, rising.
        utility: ``(H, L, n)``: each of H halvings of the seeds, if something is chosen; else H = 1.
        baseline: ``(H, n)`` without privacy, at the best of its settings; None where it was not measured.
        paired: whether a column is one seed's.
        num_test: test rows, where utility is a share of them.
        tuned: whether each level is the best setting of that level or a stricter one, chosen on the other
            half of the seeds; else there is but one setting.
        worst: the least utility that there can be, where that is known: that of a share.
        left_out: cells without a score on some of the n seeds.
    """

    epsilons: NDArray[np.float64]
    utility: NDArray[np.float64]
    baseline: NDArray[np.float64] | None
    paired: bool
    num_test: int | None
    tuned: bool
    worst: float | None
    left_out: int


def ladder_of(evidence: Evidence, cells: Sequence[Cell]) -> Ladder:
    """The ladder of private cells.

    If they differ in noise alone, a level is a cell. Else a level is *tuned*: each seed takes the cell that
    does best on the other half of the seeds, among all cells with an epsilon as small or smaller, since a
    budget need not be spent. So the level's utility is not optimistic, and a level whose own cells are poor
    (another batch size, say) makes no fall.

    Seeds are those that at least half of the cells have; a cell without all of them is left out.
    """
    placed = sorted((c for c in cells if _epsilon(c) is not None and evidence.values(c).size), key=_place)
    if not placed:
        return _nothing(evidence)
    table = utilities(evidence, placed)
    known = np.isfinite(table)
    shared = known.mean(axis=0) >= 0.5
    complete = np.flatnonzero(known[:, shared].all(axis=1))
    kept = [placed[i] for i in complete]
    scores = table[complete][:, shared]
    seeds = np.unique(np.concatenate([evidence.measured(cell)[0] for cell in placed]))[shared]
    epsilons = np.array([_place(cell) for cell in kept])
    ends = _level_ends(epsilons)
    tuned = len(ends) < len(kept) or len({_apart_from_noise(cell) for cell in kept}) > 1
    return Ladder(
        epsilons=epsilons[ends],
        utility=_chosen(scores)[:, ends] if tuned else scores[None, ends],
        baseline=_baseline(evidence, kept, seeds),
        paired=evidence.paired,
        num_test=rows_behind(evidence, *kept),
        tuned=tuned,
        worst=_worst(evidence, scores),
        left_out=len(placed) - len(kept),
    )


def _nothing(evidence: Evidence) -> Ladder:
    return Ladder(
        epsilons=np.empty(0),
        utility=np.empty((1, 0, 0)),
        baseline=None,
        paired=evidence.paired,
        num_test=None,
        tuned=False,
        worst=None,
        left_out=0,
    )


def _epsilon(cell: Cell) -> float | None:
    epsilon = cell.epsilon.upper if cell.epsilon is not None else math.inf
    return epsilon if 0 < epsilon < math.inf else None


def _place(cell: Cell) -> float:
    return _epsilon(cell) or math.nan


def _apart_from_noise(cell: Cell) -> frozenset[tuple[str, object]]:
    return frozenset((name, value) for name, value in cell.setting.items() if name not in NOISE_SETTINGS)


def _level_ends(epsilons: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the last cell of every level; at most `MOST_LEVELS`, spread over the whole range."""
    ends: list[int] = []
    for place, epsilon in enumerate(epsilons):
        first = ends[-2] + 1 if len(ends) > 1 else 0
        if ends and epsilon <= SAME_LEVEL * epsilons[first]:
            ends[-1] = place
        else:
            ends.append(place)
    if len(ends) <= MOST_LEVELS:
        return np.array(ends, dtype=np.int64)
    logs = np.log(epsilons[ends])
    wanted = np.linspace(logs[0], logs[-1], MOST_LEVELS)
    nearest = np.unique(np.abs(logs[:, None] - wanted).argmin(axis=0))
    return np.array(ends, dtype=np.int64)[nearest]


def _chosen(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(H, cells, n)``: the best cell up to each; with one seed there is no other half to choose on."""
    if scores.shape[1] > 1:
        return cross_fitted(scores, running=True)
    return np.maximum.accumulate(scores, axis=0)[None]


def _baseline(
    evidence: Evidence, cells: Sequence[Cell], seeds: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """``(H, n)``: without privacy, at the setting that is best on the other half; None without one."""
    found = {b.index: b for cell in cells if (b := evidence.counterpart(cell, Arm.NEITHER)) is not None}
    rows: list[NDArray[np.float64]] = []
    for cell in found.values():
        measured, values = evidence.measured(cell)
        if np.isin(seeds, measured).all():
            rows.append(values[np.searchsorted(measured, seeds)] * (1 if evidence.maximize else -1))
    if not rows:
        return None
    return _chosen(np.stack(rows))[:, -1] if len(rows) > 1 else rows[0][None]


def _worst(evidence: Evidence, scores: NDArray[np.float64]) -> float | None:
    signed = scores if evidence.maximize else -scores
    if signed.size == 0 or signed.min() < 0 or signed.max() > 1:
        return None
    return 0.0 if evidence.maximize else -1.0
