"""What a store of runs must do, and the values that cross into it.

The contract, which `clifftop.testing.stores` checks on any implementation (in prose: ``docs/store.md``):

- A run is known by its spec's content id; adding it again changes nothing.
- A block of a cohort is committed whole or not at all: metrics, trace, statuses and checkpoint.
- A run is ``done`` or ``diverged`` once it has finished, and nothing changes it any more. Divergence is a
  result, not an error: a run that diverges is finished at once, whatever becomes of its cohort.
- A run is ``running`` exactly while a checkpoint holds it and it has not finished.
- A run that is being trained belongs to one living process. A process that has ended, however it ended,
  owns nothing. Any number of processes may train and read at the same time.
- Every failure of the storage is one `StoreError` line that names it, and leaves the store as it was
  before the call that failed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from clifftop.lab.spec import RunSpec, Scalar


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
        """``(R,)`` bool: runs seen to diverge in this block or an earlier one."""
        ...

    @property
    def trained(self) -> np.ndarray:
        """``(R,)`` bool: runs that took part in this block; rows of the others mean nothing."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A cohort under way: its runs in order, steps done, and the state to resume from."""

    run_ids: tuple[str, ...]
    step: int
    state: bytes


@final
@dataclass(frozen=True, kw_only=True)
class Claimed:
    """Runs that are now the caller's to train.

    Attributes:
        checkpoints: cohorts that go on from where another process, or an earlier one, left them.
        run_ids: runs that start, in the order asked for.
    """

    checkpoints: tuple[Checkpoint, ...] = ()
    run_ids: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class RunSetting:
    """What a sweep says about a run: where it lies on the axes, and what it costs alone.

    Attributes:
        run_id: the run.
        point: axis name to the run's value on it.
        delta: the delta of the epsilon.
        epsilon_lower: epsilon of releasing this run alone is at least this; infinite for a baseline.
        epsilon_upper: and at most this.
        neighboring_relation: of the guarantee, such as ``"add-remove"``.
    """

    run_id: str
    point: Mapping[str, Scalar]
    delta: float
    epsilon_lower: float
    epsilon_upper: float
    neighboring_relation: str


class RunStore(Protocol):
    """What the runner and the tables need of a store."""

    def training(self) -> AbstractContextManager[None]:
        """Be one of the trainers; what is claimed inside is free again when it ends, or the process does."""
        ...

    def trainers(self) -> int:
        """How many trainers there are now, this one included."""
        ...

    def claim(self, run_ids: Sequence[str]) -> Claimed:
        """Claim, of these runs, those that are unfinished and that no living trainer has claimed.

        A cohort under way that holds one of them goes on as it was if all its runs are in ``run_ids``;
        else it cannot, and what its unfinished runs had recorded is forgotten.

        Raises:
            StoreError: an unknown run, or outside `training`.
        """
        ...

    def claimed(self) -> frozenset[str]:
        """Unfinished runs that other living trainers have claimed."""
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
        """Write one block of a cohort, whole or not at all; its last block gives back the claims on it.

        Raises:
            StoreError: an unknown run, a run that another trainer claimed (inside `training`: that this
                one did not claim), a finished run that trained again, a block that does not begin where its
                runs stand, an evaluation that is there already, or a failing file.
        """
        ...

    def fail(self, run_ids: Sequence[str], error: str) -> None:
        """Mark the unfinished among these runs as failed for ``error`` and give back the claims on them.

        What they, and the unfinished rest of their cohort, had recorded is forgotten.

        Raises:
            StoreError: an unknown run, or one that another trainer claimed (see `commit`).
        """
        ...

    def cohort_size(self, static_key: str, measure: Callable[[], int]) -> int:
        """How many runs with this key train together: what was decided first, else what ``measure`` says."""
        ...

    def record(self, kind: str, **detail: object) -> None:
        """Add an entry to the timeline; ``detail`` is JSON."""
        ...

    def describe(self, settings: Iterable[RunSetting]) -> None:
        """Keep what a sweep says about its runs; a later word on a run replaces the earlier one.

        Raises:
            StoreError: an unknown run; nothing is kept.
        """
        ...

    def settings(self) -> dict[str, RunSetting]:
        """What is known about runs, by id, in the order the runs were added."""
        ...

    def put_artifact(self, name: str, content: bytes) -> None:
        """Keep named bytes; a second write under one name replaces the first."""
        ...

    def artifact(self, name: str) -> bytes | None:
        """Bytes kept under ``name``, or None."""
        ...

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of an SQL query over the tables of `clifftop.lab.migrations`."""
        ...


def took_part(block: BlockLike, runs: int) -> np.ndarray:
    """``(R,)`` bool: ``block.trained`` of R runs.

    Raises:
        ValueError: a block without it, or of another number of runs.
    """
    trained = getattr(block, "trained", None)
    if trained is None:
        raise ValueError(
            f"a block must say which runs took part in it, found {type(block).__qualname__} without trained; "
            "give it a (R,) bool array"
        )
    if np.shape(trained) != (runs,):
        raise ValueError(f"trained must be (R,) with R={runs}, found {np.shape(trained)}")
    return np.asarray(trained, dtype=np.bool_)
