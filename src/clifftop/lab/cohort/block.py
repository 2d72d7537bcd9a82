"""What a cohort hands back after some steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clifftop.private_gradient import StepRecord

TRACE_FIELDS = tuple(f.name for f in fields(StepRecord) if f.name != "layers")
FIRST_TRACE_FIELDS = TRACE_FIELDS[: TRACE_FIELDS.index("bias_cosine")]
"""Those that checkpoints from before there were more go on with."""


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """What a cohort hands back after some steps.

    Attributes:
        step: steps done so far.
        metrics: evaluations in this block: name to steps ``(K,)`` and values ``(R, K)``.
        trace: per-step diagnostics of this block, each ``(R, k)``; not private.
        state: the checkpoint to resume from; None once finished.
        finished: whether the runs are done.
        diverged: ``(R,)`` whether a run's parameters, or its loss at the end, are no longer finite.
        trained: ``(R,)`` whether a run took part in this block. A run that was seen to diverge takes part
            in no later one: its rows are NaN from there on.
        parameters: with the last block and where they were asked for, every trained parameter,
            ``(R, ...)``; NaN for a run that ended early.
    """

    step: int
    metrics: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    trace: dict[str, NDArray[np.float32]]
    state: bytes | None
    finished: bool
    diverged: NDArray[np.bool_]
    trained: NDArray[np.bool_]
    parameters: Mapping[str, NDArray[np.floating]] | None = None


@final
class Log:
    """What the runs of a cohort that still train did since the last block.

    Args:
        names: which diagnostics to keep; by default all.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = names
        self._records: list[StepRecord] = []
        self._evaluations: list[tuple[int, dict[str, Tensor]]] = []

    def step(self, record: StepRecord) -> None:
        """Keep one step's diagnostics."""
        self._records.append(record)

    def evaluation(self, step: int, values: dict[str, Tensor]) -> None:
        """Keep one evaluation."""
        self._evaluations.append((step, values))

    def metrics(
        self, rows: Sequence[int], runs: int
    ) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The evaluations, for ``runs`` runs of which ``rows`` took part."""
        steps = np.array([step for step, _ in self._evaluations], dtype=np.int64)
        names = self._evaluations[0][1] if self._evaluations else {}
        return {
            name: (
                steps,
                among(
                    torch.stack([values[name] for _, values in self._evaluations], 1).double(), rows, runs
                ).numpy(),
            )
            for name in names
        }

    def trace(self, rows: Sequence[int], runs: int) -> dict[str, NDArray[np.float32]]:
        """The steps' diagnostics, for ``runs`` runs of which ``rows`` took part."""
        steps = [record.numbers() for record in self._records]
        names = steps[0] if self._names is None else self._names
        return {
            name: among(torch.stack([step[name] for step in steps], 1).float(), rows, runs).numpy()
            for name in names
        }

    def last(self) -> Mapping[str, Tensor]:
        """The last evaluation's values; empty without one."""
        return self._evaluations[-1][1] if self._evaluations else {}


def among(values: Tensor, rows: Sequence[int], runs: int) -> Tensor:
    """``(len(rows), ...)`` as ``(runs, ...)``, with NaN for the others."""
    if len(rows) == runs:
        return values.cpu()
    whole = torch.full((runs, *values.shape[1:]), torch.nan, dtype=values.dtype)
    whole[list(rows)] = values.cpu()
    return whole
