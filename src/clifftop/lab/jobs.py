"""What passes between the runner, an executor and a trainer: jobs out, blocks back.

An executor never touches the store. It yields each block to one consumer, which commits it before it
asks for the next, so a job's last yielded block is what the job would resume from.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from clifftop.lab.contract import BlockLike, took_part
from clifftop.lab.spec import RunSpec


class Trainer(Protocol):
    """Trains runs together (`clifftop.lab.cohort.train_cohort`)."""

    def __call__(self, specs: Sequence[RunSpec], *, state: bytes | None = None) -> Iterator[BlockLike]:
        """Blocks of the runs ``specs``, from the start or from the ``state`` of an earlier block."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """A cohort to train: its runs in order, and where to resume from (None: the start)."""

    specs: tuple[RunSpec, ...]
    state: bytes | None = None
    step: int = 0

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of its runs, in order."""
        return tuple(spec.id for spec in self.specs)


@final
@dataclass(frozen=True, kw_only=True)
class Trained:
    """A block, and the seconds it took to train."""

    block: BlockLike
    seconds: float


@final
@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trainer gave a job up: ``error`` in one line, ``details`` for the timeline."""

    error: str
    details: str


@final
@dataclass(frozen=True, kw_only=True)
class WorkerLost:
    """A worker process ended under a job, which goes on from its last block in another."""

    reason: str


Outcome = Trained | Failed | WorkerLost


class Executor(Protocol):
    """Trains jobs; closing the generator stops everything it started."""

    @property
    def most_workers(self) -> int:
        """How many jobs it may train at a time, as far as it knows beforehand."""
        ...

    def run(self, trainer: Trainer, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """Yield what happens to each job until it has finished or failed.

        The next job is asked for only when a worker is free for it: asking claims it.
        """
        ...


class ExecutorError(Exception):
    """An executor that cannot start its workers."""


def train(trainer: Trainer, job: Job) -> Iterator[Trained | Failed]:
    """A job's blocks, timed and checked; a trainer's exception becomes one `Failed`, the last outcome."""
    step, started = job.step, time.perf_counter()
    finished = False
    try:
        for block in trainer(job.specs, state=job.state):
            _check_block(block, job.specs, step)
            step, finished = block.step, block.finished
            yield Trained(block=block, seconds=time.perf_counter() - started)
            if finished:
                return
            started = time.perf_counter()
        raise ValueError(f"a trainer must end with a finished block, found its last at step={step}")
    except Exception as error:  # noqa: BLE001 - a trainer runs foreign code; its failure is an outcome
        yield Failed(error=one_line(error), details=traceback.format_exc())


def one_line(error: Exception) -> str:
    """An exception's type and message with no line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _check_block(block: BlockLike, specs: Sequence[RunSpec], previous: int) -> None:
    """Refuse a block that a store could not resume from, or whose arrays do not fit its runs."""
    last = max(spec.steps for spec in specs)
    if not previous < block.step <= last:
        raise ValueError(f"a block must end in steps ({previous}, {last}], found step={block.step}")
    if (block.state is None) != block.finished:
        raise ValueError(f"a block must have a state unless it is the last, found finished={block.finished}")
    if np.shape(block.diverged) != (len(specs),):
        raise ValueError(f"diverged must be (R,) with R={len(specs)}, found {np.shape(block.diverged)}")
    took_part(block, len(specs))
    for name, (steps, values) in block.metrics.items():
        if np.shape(values) != (len(specs), len(steps)):
            raise ValueError(f"metric {name} must be {(len(specs), len(steps))}, found {np.shape(values)}")
    for name, values in block.trace.items():
        if np.shape(values) != (len(specs), block.step - previous):
            raise ValueError(
                f"trace {name} must hold a number a run and step, {(len(specs), block.step - previous)}, "
                f"found {np.shape(values)}"
            )
