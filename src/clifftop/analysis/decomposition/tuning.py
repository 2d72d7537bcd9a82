"""Private cells beside their counterparts, each arm at the learning rate that is best for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.decomposition.aligning import (
    BESIDE,
    FITTED,
    LR,
    Aligned,
    Measured,
    Reader,
    common_labels,
)
from clifftop.analysis.decomposition.parts import Cells, Floats, Ragged, in_units
from clifftop.analysis.evidence import Arm, Cell, Evidence
from clifftop.analysis.inference.held_out import halvings


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A learning rate for each seed, and the one that is best over all.

    Attributes:
        judged_at: ``(H, n)`` for each of H halvings of the seeds, the learning rate that judges each seed:
            the one with the best mean over the other half.
        best: the one with the best mean over all seeds.
    """

    judged_at: NDArray[np.intp]
    best: int

    @staticmethod
    def of(utilities: Floats) -> Choice | None:
        """From ``(L, n)`` utilities of L learning rates, n > 1; of equals the first.

        One at which a run has no finite score is not chosen; None where that leaves none.

        >>> Choice.of(np.array([[0.5, 0.9], [0.8, 0.7]])).judged_at.tolist()
        [[0, 1]]
        """
        fine = np.logical_and.reduce(np.isfinite(utilities), axis=1)
        if not fine.any():
            return None
        known = np.where(np.expand_dims(fine, 1), utilities, 0.0)
        units = Cells.of(Ragged.of([known.ravel()]), {}, [known.ravel()]).units
        whole = in_units(known, units)  # so that equals are equal
        first = halvings(utilities.shape[1])
        sums = np.stack([whole @ first.T, whole @ ~first.T])
        best_on_first, best_on_second = np.where(fine[:, None], sums, -np.inf).argmax(axis=1)
        return Choice(
            judged_at=np.where(first, best_on_second[:, None], best_on_first[:, None]),
            best=int(np.where(fine, whole.sum(axis=1), -np.inf).argmax()),
        )


def aligned_at_best_lr(
    evidence: Evidence, base: Arm = Arm.BOTH, beside: Sequence[Arm] = BESIDE
) -> tuple[list[Aligned], str | None]:
    """Every setting of the cells of ``base`` but the learning rate, beside its counterparts, all tuned.

    An arm of ``beside`` joins if it was run at every learning rate of those cells. Seeds
    are halved, in several ways: each seed is judged at the learning rate that is best for its arm on the half
    without it, so that choosing does not flatter.

    Returns:
        The settings for which this can be done, and why there are none.
    """
    groups = _by_setting(evidence.of(base))
    several = [group for group in groups if len(group) > 1]
    if not several:
        return [], "every setting was run at one learning rate only; sweep lr"
    read = Reader(evidence=evidence, finite=False)
    found = [row for group in several if (row := _tuned(evidence, group, beside, read)) is not None]
    if found:
        return found, None
    return [], (
        "choosing a learning rate on some seeds and judging it on others needs two seeds, and a "
        "counterpart at every learning rate; no setting has both"
    )


def _by_setting(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        setting = {name: value for name, value in cell.setting.items() if name != LR}
        groups.setdefault(tuple(sorted(setting.items())), []).append(cell)
    return list(groups.values())


def _tuned(evidence: Evidence, group: Sequence[Cell], beside: Sequence[Arm], read: Reader) -> Aligned | None:
    found: dict[Arm, Sequence[Measured]] = {group[0].arm: [read(cell) for cell in group]}
    for arm in beside:
        counterparts = [evidence.counterpart(cell, arm) for cell in group]
        measured = [read(cell) for cell in counterparts if cell is not None]
        if len(measured) == len(group):
            found[arm] = measured
    if not evidence.paired:
        found = _by_rank(found)
    arms: dict[Arm, Sequence[Measured]] = {}
    labels = np.empty(0, dtype=np.int64)
    for arm, measured in found.items():
        joined = common_labels(*(m for rows in arms.values() for m in rows), *measured)
        if joined.size > 1 or not arms:
            arms[arm], labels = measured, joined
    return _judged(group, arms, labels) if labels.size > 1 else None


def _by_rank(found: Mapping[Arm, Sequence[Measured]]) -> dict[Arm, Sequence[Measured]]:
    """The same with runs paired by their order; at one learning rate those of one seed stay together."""
    columns: list[list[Measured]] = []
    for column in zip(*found.values(), strict=True):
        shared = common_labels(*column)
        columns.append([m.ranked(shared if shared.size else None) for m in column])
    return dict(zip(found, zip(*columns, strict=True), strict=True))


def _judged(
    group: Sequence[Cell], arms: Mapping[Arm, Sequence[Measured]], labels: NDArray[np.int64]
) -> Aligned | None:
    tag = labels.tobytes()
    utilities = {arm: np.stack([m.at(labels, tag) for m in rows]) for arm, rows in arms.items()}
    choices = {arm: choice for arm, values in utilities.items() if (choice := Choice.of(values)) is not None}
    base = group[0].arm
    if base not in choices or len(choices) == 1:
        return None
    cell = group[choices[base].best]
    every = np.arange(labels.size)
    return Aligned(
        cell=cell,
        cells=tuple(c.index for c in group),
        seeds=labels,
        utilities={arm: utilities[arm][choice.judged_at, every] for arm, choice in choices.items()},
        lrs={
            arm: lr
            for arm, choice in choices.items()
            if (lr := arms[arm][choice.best].cell.number(LR)) is not None
        },
        runs={arm: _runs(arms[arm], choices[arm].judged_at, labels, tag) for arm in FITTED if arm in choices},
        dropped=cell.seeds.size - labels.size,
    )


def _runs(
    rows: Sequence[Measured], judged_at: NDArray[np.intp], labels: NDArray[np.int64], tag: bytes
) -> list[list[str]]:
    by_lr = [row.runs_at(labels, tag) for row in rows]
    if not all(map(len, by_lr)):
        return []
    return [[by_lr[which][place] for place, which in enumerate(halving)] for halving in judged_at.tolist()]
