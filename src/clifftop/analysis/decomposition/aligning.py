"""Private cells beside their counterparts, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.decomposition.parts import Floats
from clifftop.analysis.evidence import Arm, Cell, Evidence

LR = "lr"
BESIDE = (Arm.NEITHER, Arm.CLIPPING, Arm.NOISE, Arm.ORIGINAL)
"""Arms that a private cell may stand beside, in the order in which they join it."""
FITTED = (Arm.BOTH, Arm.NEITHER)
"""Arms whose training fits are compared."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """A cell beside its counterparts on the seeds that all of them have.

    Attributes:
        cell: the cell.
        cells: the cells that it stands for, by place.
        seeds: ``(n,)``, n > 0.
        utilities: ``(H, n)`` an arm, finite; H is 1 but where seeds are halved to choose and to judge.
        lrs: each arm's learning rate.
        runs: ``(H, n)`` run ids of the arms in `FITTED`; empty where the evidence has none.
        dropped: seeds of the cell that are not among ``seeds``.
    """

    cell: Cell
    cells: tuple[int, ...]
    seeds: NDArray[np.int64]
    utilities: Mapping[Arm, Floats]
    lrs: Mapping[Arm, float]
    runs: Mapping[Arm, Sequence[Sequence[str]]]
    dropped: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What one cell measured: ``labels`` that pair its runs with those of other cells, and utilities."""

    cell: Cell
    labels: NDArray[np.int64]
    utilities: Floats
    runs: Sequence[str]
    tag: bytes  # equal for equal labels

    @staticmethod
    def of(evidence: Evidence, cell: Cell, *, finite: bool) -> Measured:
        """A cell's runs; ``finite`` leaves out those without a finite score."""
        values = cell.scores.get(evidence.metric)
        values = np.full(cell.seeds.size, np.nan) if values is None else values
        utilities, labels, runs = values if evidence.maximize else -values, cell.seeds, cell.runs
        known = np.isfinite(values)
        if finite and not known.all():
            utilities, labels = utilities[known], labels[known]
            runs = tuple(run for run, is_known in zip(runs, known, strict=False) if is_known)
        return Measured(cell=cell, labels=labels, utilities=utilities, runs=runs, tag=labels.tobytes())

    def ranked(self, kept: NDArray[np.int64] | None = None) -> Measured:
        """The same runs, or those at some of the labels, with 0, 1, ... for labels."""
        kept = self.labels if kept is None else kept
        tag, labels = kept.tobytes(), np.arange(kept.size)
        return Measured(
            cell=self.cell,
            labels=labels,
            utilities=self.at(kept, tag),
            runs=self.runs_at(kept, tag),
            tag=labels.tobytes(),
        )

    def at(self, labels: NDArray[np.int64], tag: bytes) -> Floats:
        """Utilities at some of the labels."""
        return self.utilities if tag == self.tag else self.utilities[np.searchsorted(self.labels, labels)]

    def runs_at(self, labels: NDArray[np.int64], tag: bytes) -> Sequence[str]:
        """Run ids at some of the labels; empty where the evidence has none."""
        if tag == self.tag or not self.runs:
            return self.runs
        return [self.runs[place] for place in np.searchsorted(self.labels, labels)]


@final
@dataclass(kw_only=True, eq=False)
class Reader:
    """Reads each cell of an evidence once."""

    evidence: Evidence
    finite: bool
    _seen: dict[int, Measured] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> Measured:
        """What the cell measured."""
        found = self._seen.get(cell.index)
        if found is None:
            found = self._seen[cell.index] = Measured.of(self.evidence, cell, finite=self.finite)
        return found


def common_labels(*measured: Measured) -> NDArray[np.int64]:
    """Labels that all have, rising."""
    distinct = {m.tag: m.labels for m in measured}
    return reduce(
        lambda a, b: np.intersect1d(a, b, assume_unique=True), distinct.values()
    )  # cells of one sweep mostly have the same


def aligned_at_own_lr(
    evidence: Evidence, base: Arm = Arm.BOTH, beside: Sequence[Arm] = BESIDE
) -> list[Aligned]:
    """Every cell of ``base`` that has a counterpart, beside those at its own learning rate.

    An arm of ``beside`` joins, in order, if it shares a seed with the cell and the arms that joined before.
    Where the evidence is not paired and some arm shares none, runs are paired by their order instead: they
    have nothing in common, so that any pairing is as good as another.
    """
    read = Reader(evidence=evidence, finite=True)
    rows = (_aligned(evidence, cell, beside, read) for cell in evidence.of(base))
    return [row for row in rows if row is not None]


def _aligned(evidence: Evidence, cell: Cell, beside: Sequence[Arm], read: Reader) -> Aligned | None:
    found = {cell.arm: read(cell)}
    for arm in beside:
        if (counterpart := evidence.counterpart(cell, arm)) is not None:
            found[arm] = read(counterpart)
    arms, labels = _joined(found)
    if not evidence.paired and len(arms) < len(found):
        arms, labels = _joined({arm: m.ranked() for arm, m in found.items()})
    if len(arms) == 1 or not labels.size:
        return None
    tag = labels.tobytes()
    return Aligned(
        cell=cell,
        cells=(cell.index,),
        seeds=labels,
        utilities={arm: m.at(labels, tag)[None] for arm, m in arms.items()},
        lrs={arm: lr for arm, m in arms.items() if (lr := m.cell.number(LR)) is not None},
        runs={arm: [arms[arm].runs_at(labels, tag)] for arm in FITTED if arm in arms},
        dropped=cell.seeds.size - labels.size,
    )


def _joined(found: Mapping[Arm, Measured]) -> tuple[dict[Arm, Measured], NDArray[np.int64]]:
    """The arms that share a label with those before them, and the labels that all of these share."""
    arms: dict[Arm, Measured] = {}
    labels = np.empty(0, dtype=np.int64)
    for arm, measured in found.items():
        joined = common_labels(*arms.values(), measured)
        if joined.size or not arms:
            arms[arm], labels = measured, joined
    return arms, labels
