"""A sweep: what to train next, in which company, and the one writer that commits every block.

The same call starts, resumes and extends a sweep. Which runs train together follows from the specs as
they are passed and nothing else: the list is grouped by static key, each group is cut into cohorts of a
fixed size, and only then are the finished runs left out. A sweep that was interrupted and started again
with the same list therefore trains the same cohorts as one that was not.

Nothing that a store names is ever imported: only specs that the caller passes are trained.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import final

from clifftop.lab.contract import RunStore, Status
from clifftop.lab.executors import InProcess
from clifftop.lab.jobs import Executor, Failed, Job, Outcome, Trained, Trainer, WorkerLost
from clifftop.lab.spec import RunSpec

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a sweep is, after a block.

    Attributes:
        runs_done: runs that need no more training, those finished earlier included.
        runs_total: runs asked for.
        steps_done: steps taken so far by all runs asked for.
        steps_total: steps of all runs asked for.
        cohort_runs: runs in the cohort that just advanced.
        cohort_step: steps that cohort has done.
        seconds: since the sweep was started this time.
    """

    runs_done: int
    runs_total: int
    steps_done: int
    steps_total: int
    cohort_runs: int
    cohort_step: int
    seconds: float


@final
@dataclass(frozen=True, kw_only=True)
class Failure:
    """Runs that failed together, and why."""

    run_ids: tuple[str, ...]
    error: str


@final
@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep did.

    Attributes:
        runs: runs asked for.
        trained: of these, runs that this call finished.
        diverged: of all runs asked for, those that diverged.
        failures: cohorts that the trainer gave up; their runs train again on the next call.
        training_seconds: spent in the trainer, summed over workers.
        seconds: from the call to its end.
    """

    runs: int
    trained: int
    diverged: int
    failures: tuple[Failure, ...]
    training_seconds: float
    seconds: float


class SweepError(Exception):
    """A sweep that ended with failed runs; everything else was trained and recorded.

    Attributes:
        result: what the sweep did, with its failures.
    """

    def __init__(self, result: SweepResult) -> None:
        counts: Counter[str] = Counter()
        for failure in result.failures:
            counts[failure.error] += len(failure.run_ids)
        reasons = "; ".join(f"{count} x {error}" for error, count in counts.most_common(3))
        more = f"; and {len(counts) - 3} other errors" if len(counts) > 3 else ""
        super().__init__(
            f"{counts.total()} of {result.runs} runs failed: {reasons}{more}; "
            "run the same command to try them again"
        )
        self.result = result


def run_sweep(
    store: RunStore,
    specs: Sequence[RunSpec],
    *,
    executor: Executor | None = None,
    trainer: Trainer | None = None,
    static_key: Callable[[RunSpec], str] | None = None,
    cohort_size: Callable[[RunSpec], int] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Train every spec that has not finished, and commit each block to the store.

    Args:
        store: where the numbers go; other runs in it are left alone.
        specs: the runs to have finished at the end, in an order that decides the cohorts.
        executor: who trains; by default this process.
        trainer: trains a cohort; by default `clifftop.lab.cohort.train_cohort`.
        static_key: specs with equal keys may train together; by default `clifftop.lab.cohort.static_key`.
        cohort_size: how many runs like this one to train together; asked of the first spec with a key;
            by default `clifftop.lab.cohort.cohort_size`.
        progress: called in this process after each commit.

    Raises:
        SweepError: at the end, if some runs failed.
        StoreError: the store is in use, damaged or full; the sweep stops and can be resumed.
        ExecutorError: the executor cannot start its workers.
    """
    started = time.perf_counter()
    asked = {spec.id: spec for spec in specs}
    trainer, static_key, cohort_size = _or_cohorts(trainer, static_key, cohort_size)
    with store.exclusive():
        added = store.add(asked.values())
        jobs = plan_jobs(store, asked, static_key=static_key, cohort_size=cohort_size)
        store.record("sweep_started", runs=len(asked), new=added, cohorts=len(jobs))
        sweep = _Sweep(store, asked, jobs, started=started, progress=progress)
        with closing((executor or InProcess()).run(trainer, jobs)) as outcomes:
            for job, outcome in outcomes:
                sweep.take(job, outcome)
        result = sweep.result()
        store.record(
            "sweep_ended",
            trained=result.trained,
            failed=sum(len(failure.run_ids) for failure in result.failures),
            seconds=round(result.seconds, 4),
            training_seconds=round(result.training_seconds, 4),
        )
    if result.failures:
        raise SweepError(result)
    return result


def plan_jobs(
    store: RunStore,
    asked: Mapping[str, RunSpec],
    *,
    static_key: Callable[[RunSpec], str],
    cohort_size: Callable[[RunSpec], int],
) -> list[Job]:
    """What is left to train: first the cohorts under way, then new ones.

    A cohort under way of which only some runs are asked for cannot go on as it was; it is forgotten, and
    the runs asked for start again.
    """
    jobs: list[Job] = []
    for checkpoint in store.checkpoints():
        wanted = [asked[run_id] for run_id in checkpoint.run_ids if run_id in asked]
        if len(wanted) == len(checkpoint.run_ids):
            jobs.append(Job(specs=tuple(wanted), state=checkpoint.state, step=checkpoint.step))
        elif wanted:
            store.reset(checkpoint.run_ids)
    statuses = store.statuses()
    pending = {run_id for run_id in asked if statuses[run_id] in (Status.PENDING, Status.FAILED)}
    groups: dict[str, list[RunSpec]] = {}
    for spec in asked.values() if pending else ():
        groups.setdefault(static_key(spec), []).append(spec)
    for group in groups.values():
        size = cohort_size(group[0])
        if size < 1:
            raise ValueError(f"cohort_size must be >= 1, found cohort_size={size}")
        for first in range(0, len(group), size):
            cohort = group[first : first + size]
            left = tuple(spec for spec in cohort if spec.id in pending)
            if left:
                jobs.append(Job(specs=left))
    return jobs


@final
class _Sweep:
    """The writer's side of one sweep: commits outcomes and counts."""

    def __init__(
        self,
        store: RunStore,
        asked: Mapping[str, RunSpec],
        jobs: Sequence[Job],
        *,
        started: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._store, self._asked, self._started, self._progress = store, asked, started, progress
        self._steps = {job.run_ids: job.step for job in jobs}
        left = [spec for job in jobs for spec in job.specs]
        self._runs_done, self._trained = len(asked) - len(left), 0
        self._steps_total = sum(spec.steps for spec in asked.values())
        self._steps_done = self._steps_total - sum(spec.steps for spec in left)
        self._steps_done += sum(job.step * len(job.specs) for job in jobs)
        self._failures: list[Failure] = []
        self._training_seconds = 0.0

    def take(self, job: Job, outcome: Outcome) -> None:
        """Commit one outcome, then report progress."""
        match outcome:
            case Trained():
                self._commit(job.run_ids, job, outcome)
            case Failed():
                self._fail(job.run_ids, outcome)
            case WorkerLost():
                _log.warning("%s; its %d runs go on from their last block", outcome.reason, len(job.specs))
                self._store.record("worker_lost", runs=len(job.specs), reason=outcome.reason)

    def _commit(self, run_ids: tuple[str, ...], job: Job, outcome: Trained) -> None:
        block = outcome.block
        self._store.commit(run_ids, block, seconds=outcome.seconds)
        self._training_seconds += outcome.seconds
        reached = job.specs[0].steps if block.finished else block.step  # a cohort may end early
        self._steps_done += (reached - self._steps[run_ids]) * len(run_ids)
        self._steps[run_ids] = reached
        if block.finished:
            self._trained += len(run_ids)
            self._runs_done += len(run_ids)
        if self._progress is not None:
            self._progress(self._report(len(run_ids), block.step))

    def _fail(self, run_ids: tuple[str, ...], outcome: Failed) -> None:
        _log.error("%d runs failed: %s", len(run_ids), outcome.error)
        self._store.fail(run_ids, outcome.error)
        self._store.record("cohort_failed", runs=len(run_ids), error=outcome.error, details=outcome.details)
        self._failures.append(Failure(run_ids=run_ids, error=outcome.error))

    def _report(self, cohort_runs: int, cohort_step: int) -> Progress:
        return Progress(
            runs_done=self._runs_done,
            runs_total=len(self._asked),
            steps_done=self._steps_done,
            steps_total=self._steps_total,
            cohort_runs=cohort_runs,
            cohort_step=cohort_step,
            seconds=time.perf_counter() - self._started,
        )

    def result(self) -> SweepResult:
        """What the sweep has done."""
        statuses = self._store.statuses()
        return SweepResult(
            runs=len(self._asked),
            trained=self._trained,
            diverged=sum(statuses[run_id] is Status.DIVERGED for run_id in self._asked),
            failures=tuple(self._failures),
            training_seconds=self._training_seconds,
            seconds=time.perf_counter() - self._started,
        )


def _or_cohorts(
    trainer: Trainer | None,
    static_key: Callable[[RunSpec], str] | None,
    cohort_size: Callable[[RunSpec], int] | None,
) -> tuple[Trainer, Callable[[RunSpec], str], Callable[[RunSpec], int]]:
    """What was passed, and for the rest `clifftop.lab.cohort`, which imports torch."""
    if trainer is not None and static_key is not None and cohort_size is not None:
        return trainer, static_key, cohort_size
    from clifftop.lab import cohort

    return trainer or cohort.train_cohort, static_key or cohort.static_key, cohort_size or cohort.cohort_size
