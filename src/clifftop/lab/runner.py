"""A sweep: what to train next, in which company, and the one writer in each process that commits blocks.

The same call starts, resumes, extends and joins a sweep. Which runs train together follows from the specs
as they are passed and from the cohort sizes that the store keeps: the list is grouped by static key and
each group is cut into equal cohorts, as many as the workers can share. A cohort is claimed when an executor
asks for its next job, so any number of processes can share one store; what another process has claimed is
left out, and waited for at the end. A sweep that was interrupted and started again with the same list and
as many workers trains the same cohorts as one that was not.

Nothing that a store names is ever imported: only specs that the caller passes are trained.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import final

from clifftop.lab.contract import RunStore, Status
from clifftop.lab.executors import InProcess
from clifftop.lab.jobs import Executor, Failed, Job, Outcome, Trained, Trainer, WorkerLost
from clifftop.lab.spec import RunSpec
from clifftop.lab.tally import Progress, Tally

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between two looks at what other processes do
_WAIT_SECONDS = 0.2  # between two looks for work that another process may have left


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

    Several processes may call it on one store, with the same specs or others: they share the work, and
    each returns when every run that it asked for has finished, whoever trained it.

    Args:
        store: where the numbers go; other runs in it are left alone.
        specs: the runs to have finished at the end, in an order that decides the cohorts.
        executor: who trains; by default this process.
        trainer: trains a cohort; by default `clifftop.lab.cohort.train_cohort`.
        static_key: specs with equal keys may train together; by default `clifftop.lab.cohort.static_key`.
        cohort_size: how many runs like this one to train together; asked of the first spec with a key.
            By default `clifftop.lab.cohort.cohort_size` the first time, and then what the store keeps.
        progress: called in this process after each commit, and now and then while others train.

    Raises:
        SweepError: at the end, if some runs failed.
        StoreError: the store is damaged or full; the sweep stops and can be resumed.
        ExecutorError: the executor cannot start its workers.
    """
    started = time.perf_counter()
    asked = {spec.id: spec for spec in specs}
    executor = executor or InProcess()
    workers = executor.most_workers
    trainer, static_key, size_of = _or_cohorts(store, trainer, static_key, cohort_size, workers=workers)
    with store.training():
        added = store.add(asked.values())
        wanted = _unfinished(store, asked)
        cohorts: list[tuple[RunSpec, ...]] = []
        if wanted:
            cohorts = cut(asked.values(), static_key=static_key, cohort_size=size_of, workers=workers)
        open_cohorts = sum(any(spec.id in wanted for spec in cohort) for cohort in cohorts)
        store.record("sweep_started", runs=len(asked), new=added, cohorts=open_cohorts)
        sweep = _Sweep(store, asked, cohorts, started=started, progress=progress)
        if wanted:
            sweep.train(executor, trainer, wanted)
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


def cut(
    specs: Collection[RunSpec],
    *,
    static_key: Callable[[RunSpec], str],
    cohort_size: Callable[[str, RunSpec], int],
    workers: int = 1,
) -> list[tuple[RunSpec, ...]]:
    """The cohorts of a list of specs: groups of one key, in order of appearance, cut into equal parts.

    Args:
        specs: distinct specs.
        static_key: see `run_sweep`.
        cohort_size: the most runs of a cohort, of a key and the first spec with it.
        workers: each group is cut into a multiple of so many cohorts, so that none of them is idle.

    Raises:
        ValueError: a size below 1.
    """
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(static_key(spec), []).append(spec)
    cohorts: list[tuple[RunSpec, ...]] = []
    for key, group in groups.items():
        size = cohort_size(key, group[0])
        if size < 1:
            raise ValueError(f"cohort_size must be >= 1, found cohort_size={size}")
        parts = math.ceil(len(group) / size)
        parts = min(len(group), math.ceil(parts / workers) * workers)
        ends = [len(group) * part // parts for part in range(parts + 1)]
        cohorts += [tuple(group[first:end]) for first, end in pairwise(ends)]
    return cohorts


def _unfinished(store: RunStore, asked: Mapping[str, RunSpec]) -> set[str]:
    statuses = store.statuses()
    return {run_id for run_id in asked if statuses[run_id] not in (Status.DONE, Status.DIVERGED)}


@final
class _Sweep:
    """One process's side of a sweep: claims jobs, commits outcomes, counts."""

    def __init__(
        self,
        store: RunStore,
        asked: Mapping[str, RunSpec],
        cohorts: Sequence[Sequence[RunSpec]],
        *,
        started: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._store, self._asked, self._cohorts = store, asked, cohorts
        self._started, self._progress = started, progress
        self._tally = Tally(asked, cohorts)
        self._taken: set[str] = set()  # whatever became of them, this call does not train them again
        self._failures: list[Failure] = []
        self._trained, self._training_seconds = 0, 0.0
        self._processes, self._looked = 1, float("-inf")
        self._newest: list[tuple[int | None]] = []  # the last event that `_look` knew

    def train(self, executor: Executor, trainer: Trainer, wanted: Collection[str]) -> None:
        """Train what is wanted and free; then wait for the rest, and take over what others leave."""
        self._look()
        while True:
            jobs = self._claim_jobs(frozenset(wanted))
            first = next(jobs, None)
            if first is not None:
                with closing(executor.run(trainer, chain((first,), jobs))) as outcomes:
                    for job, outcome in outcomes:
                        self._take(job, outcome)
            left = self._wait()
            if not left:
                return
            wanted = left
            if first is None:
                time.sleep(_WAIT_SECONDS)  # it was free when looked at and not when asked for

    def _wait(self) -> list[str]:
        """Wait until everything has finished, or some of what has not is nobody's; return what has not."""
        while True:
            held = self._store.claimed()
            newest = self._store.query("SELECT max(key) FROM event")  # whoever commits says so there
            if newest != self._newest or not held.issuperset(self._tally.unfinished()):
                before = self._tally.counts
                self._look()
                if self._tally.counts != before:
                    self._report()
            left = self._tally.unfinished()
            if not held.issuperset(left) or not left:
                return left
            time.sleep(_WAIT_SECONDS)

    def _claim_jobs(self, wanted: frozenset[str]) -> Iterator[Job]:
        """Jobs that this process has claimed, each when it is asked for: cohorts under way come first."""
        for cohort in self._cohorts:
            yield from self._claim_abandoned()
            left = [spec.id for spec in cohort if spec.id in wanted and spec.id not in self._taken]
            if left:
                yield from self._claim(left)
        yield from self._claim_abandoned()

    def _claim_abandoned(self) -> Iterator[Job]:
        for (runs,) in self._store.query("SELECT runs FROM checkpoint ORDER BY rowid"):
            run_ids = json.loads(runs)
            if self._taken.isdisjoint(run_ids) and self._asked.keys() >= set(run_ids):
                yield from self._claim(run_ids)

    def _claim(self, run_ids: Sequence[str]) -> Iterator[Job]:
        claimed = self._store.claim(run_ids)
        jobs = [
            Job(specs=self._specs(held.run_ids), state=held.state, step=held.step)
            for held in claimed.checkpoints
        ]
        if claimed.run_ids:
            jobs.append(Job(specs=self._specs(claimed.run_ids)))
        self._taken.update(run_id for job in jobs for run_id in job.run_ids)
        yield from jobs

    def _specs(self, run_ids: Sequence[str]) -> tuple[RunSpec, ...]:
        return tuple(self._asked[run_id] for run_id in run_ids)

    def _take(self, job: Job, outcome: Outcome) -> None:
        """Commit one outcome, then report progress."""
        match outcome:
            case Trained():
                self._store.commit(job.run_ids, outcome.block, seconds=outcome.seconds)
                self._training_seconds += outcome.seconds
                self._trained += self._tally.advance(job.run_ids, outcome.block)
                if time.perf_counter() - self._looked >= _LOOK_SECONDS:
                    self._look_if_shared()
                self._report()
            case Failed():
                self._fail(job.run_ids, outcome)
            case WorkerLost():
                _log.warning("%s; its %d runs go on from their last block", outcome.reason, len(job.specs))
                self._store.record("worker_lost", runs=len(job.specs), reason=outcome.reason)

    def _fail(self, run_ids: tuple[str, ...], outcome: Failed) -> None:
        _log.error("%d runs failed: %s", len(run_ids), outcome.error)
        self._store.fail(run_ids, outcome.error)
        self._store.record("cohort_failed", runs=len(run_ids), error=outcome.error, details=outcome.details)
        self._tally.fail(run_ids)
        self._failures.append(Failure(run_ids=run_ids, error=outcome.error))

    def _look_if_shared(self) -> None:
        self._looked = time.perf_counter()
        if self._processes > 1 or self._store.trainers() > 1:
            self._look()

    def _look(self) -> None:
        self._processes = self._store.trainers()
        self._newest = self._store.query("SELECT max(key) FROM event")
        self._tally.read(self._store)
        self._looked = time.perf_counter()

    def _report(self) -> None:
        if self._progress is not None:
            seconds = time.perf_counter() - self._started
            self._progress(self._tally.report(processes=self._processes, seconds=seconds))

    def result(self) -> SweepResult:
        """What the sweep has done."""
        statuses = self._store.statuses()
        return SweepResult(
            runs=len(self._asked),
            trained=self._trained,
            diverged=sum(statuses[run_id] is Status.DIVERGED for run_id in self._asked),
            failures=(*self._failures, *self._failed_elsewhere()),
            training_seconds=self._training_seconds,
            seconds=time.perf_counter() - self._started,
        )

    def _failed_elsewhere(self) -> Iterator[Failure]:
        own = {run_id for failure in self._failures for run_id in failure.run_ids}
        by_error: dict[str, list[str]] = {}
        for run_id, error in self._store.query(
            "SELECT id, error FROM run WHERE status = 'failed' ORDER BY key"
        ):
            if run_id in self._asked and run_id not in own:
                by_error.setdefault(str(error), []).append(run_id)
        for error, run_ids in by_error.items():
            yield Failure(run_ids=tuple(run_ids), error=error)


def _or_cohorts(
    store: RunStore,
    trainer: Trainer | None,
    static_key: Callable[[RunSpec], str] | None,
    cohort_size: Callable[[RunSpec], int] | None,
    *,
    workers: int,
) -> tuple[Trainer, Callable[[RunSpec], str], Callable[[str, RunSpec], int]]:
    """What was passed, and for the rest `clifftop.lab.cohort`, which imports torch."""
    if trainer is not None and static_key is not None and cohort_size is not None:
        return trainer, static_key, _ignoring_key(cohort_size)
    from clifftop.lab import cohort

    budget = cohort.memory_budget(workers=workers)

    def kept_size(key: str, spec: RunSpec) -> int:
        return store.cohort_size(key, lambda: cohort.cohort_size(spec, budget_bytes=budget))

    size_of = kept_size if cohort_size is None else _ignoring_key(cohort_size)
    return trainer or cohort.train_cohort, static_key or cohort.static_key, size_of


def _ignoring_key(cohort_size: Callable[[RunSpec], int]) -> Callable[[str, RunSpec], int]:
    return lambda _, spec: cohort_size(spec)
