"""What a store of runs must do, and the values that cross into it.

The contract, which `clifftop.testing.stores` checks on any implementation:

- A run is known by its spec's content id; adding it again changes nothing.
- A block of a cohort is committed whole or not at all: metrics, trace, statuses and checkpoint.
- A run is ``running`` exactly while a checkpoint holds it, and ``done`` or ``diverged`` exactly when
  its cohort has finished. Divergence is a result, not an error.
- One process trains into a store at a time; any number may read meanwhile.
- Every failure of the storage is one `StoreError` line that names it, and leaves the store as it was
  before the call that failed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from clifftop.lab.spec import RunSpec


class StoreError(Exception):
    """A results folder that cannot be used as asked; one line that names it and says what to do."""


class Status(enum.StrEnum):
    """How far a run is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"


class BlockLike(Protocol):
    """What a trainer hands back after some steps of R runs (`clifftop.lab.cohort.Block`)."""

    @property
    def step(self) -> int:
        """Steps done so far."""
        ...

    @property
    def metrics(self) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Name to (steps ``(K,)``, values ``(R, K)``) of the evaluations in this block."""
        ...

    @property
    def trace(self) -> Mapping[str, np.ndarray]:
        """Name to ``(R, k)`` diagnostics of the k steps that this block did."""
        ...

    @property
    def state(self) -> bytes | None:
        """What training resumes from; None once finished."""
        ...

    @property
    def finished(self) -> bool:
        """Whether this is the cohort's last block."""
        ...

    @property
    def diverged(self) -> np.ndarray:
        """``(R,)`` bool: runs seen to diverge in this block."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A cohort under way: its runs in order, steps done, and the state to resume from."""

    run_ids: tuple[str, ...]
    step: int
    state: bytes


class RunStore(Protocol):
    """What the runner and the tables need of a store."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the right to train into this store; refused with `StoreError` while another holds it."""
        ...

    def add(self, specs: Iterable[RunSpec]) -> int:
        """Add runs that are not there yet, as pending; return how many were new."""
        ...

    def statuses(self) -> dict[str, Status]:
        """The status of every run by id, in the order they were added."""
        ...

    def checkpoints(self) -> list[Checkpoint]:
        """The cohorts under way."""
        ...

    def commit(self, run_ids: Sequence[str], block: BlockLike, *, seconds: float = 0.0) -> None:
        """Write one block of a cohort, whole or not at all.

        Raises:
            StoreError: an unknown run, an evaluation that is there already, or a failing file.
        """
        ...

    def fail(self, run_ids: Sequence[str], error: str) -> None:
        """Mark runs as failed for ``error`` and forget what they had recorded."""
        ...

    def reset(self, run_ids: Sequence[str]) -> None:
        """Make runs pending again and forget what they, and the rest of their cohort, had recorded."""
        ...

    def record(self, kind: str, **detail: object) -> None:
        """Add an entry to the timeline; ``detail`` is JSON."""
        ...

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of an SQL query over the tables of `clifftop.lab.migrations`."""
        ...
