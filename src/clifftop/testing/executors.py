"""Checks that every executor must pass.

A test of an executor parametrises over `EXECUTOR_CHECKS`, and over `WORKER_CHECKS` if it trains in other
processes than its own, and calls each with the executor and an empty folder::

    @pytest.mark.parametrize("check", (*EXECUTOR_CHECKS, *WORKER_CHECKS))
    def test_pool(check, tmp_path):
        check(Subject(executor=ProcessPool(workers=2), workers=2), tmp_path)

They train the toy study of `clifftop.testing.stores`, whose trainer writes down who began which block.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from clifftop.lab.contract import BlockLike
from clifftop.lab.executors.crew import MOST_LOSSES
from clifftop.lab.jobs import Executor, ExecutorError, Failed, Job, Outcome, Trained, Trainer, WorkerLost
from clifftop.lab.spec import RunSpec
from clifftop.testing.stores import ToyBlock, ToyTrainer, toy_spec

_PATIENCE_SECONDS = 15.0
_LARGE_STATE_BYTES = 6_000_000


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """An executor to check, and how many jobs it trains at a time."""

    executor: Executor
    workers: int


@final
@dataclass(frozen=True, kw_only=True)
class ToyFault:
    """Does ``what`` ("raise" or "die") before a block of the run with ``seed`` that follows ``step`` steps.

    With a ``marker``, a file that must not be there yet, it does so once.
    """

    what: str
    seed: int
    step: int
    marker: Path | None = None

    def __call__(self, specs: Sequence[RunSpec], step: int) -> None:
        """Called by `ToyTrainer` before each block."""
        if step != self.step or all(spec.seed != self.seed for spec in specs):
            return
        if self.marker is not None:
            if self.marker.exists():
                return
            self.marker.touch()
        if self.what == "raise":
            raise ValueError("the toy\nbroke")
        os.kill(os.getpid(), signal.SIGKILL)


def heavy_toy(specs: Sequence[RunSpec], *, state: bytes | None = None) -> Iterator[BlockLike]:
    """The toy trainer with states of several megabytes."""
    size = 8 + 8 * len(specs)
    for block in ToyTrainer()(specs, state=None if state is None else state[:size]):
        assert isinstance(block, ToyBlock)
        large = None if block.state is None else block.state + bytes(_LARGE_STATE_BYTES)
        yield replace(block, state=large)


def unsendable_toy(specs: Sequence[RunSpec], *, state: bytes | None = None) -> Iterator[BlockLike]:
    """The toy trainer with blocks that no process can send."""
    for block in ToyTrainer()(specs, state=state):
        assert isinstance(block, ToyBlock)
        unsendable: Any = _Unsendable(block.metrics)
        yield replace(block, metrics=unsendable)


class _Unsendable(dict[str, object]):
    def __reduce__(self) -> str:
        raise TypeError("the toy cannot be sent")


def toy_jobs(count: int = 6) -> list[Job]:
    """Jobs of one to three runs each, of different lengths."""
    return [
        Job(specs=tuple(toy_spec(seed=10 * job + run, steps=4 + 2 * (job % 3)) for run in range(1 + job % 3)))
        for job in range(count)
    ]


def check_blocks_are_the_trainers(subject: Subject, folder: Path) -> None:
    """Every job's blocks are what the trainer gives, in order, whatever the order of the jobs."""
    log = folder / "log"
    jobs = toy_jobs()
    found = _collect(subject.executor.run(ToyTrainer(log=log), jobs))
    _must(set(found) == {job.run_ids for job in jobs}, "every job must be trained, once, and no other")
    for job in jobs:
        _must_be_blocks(found[job.run_ids], list(ToyTrainer()(job.specs)))
    _must_be_gone(log)


def check_jobs_are_pulled_when_a_worker_is_free(subject: Subject, _folder: Path) -> None:
    """No job is asked for while as many are under way as there are workers."""
    under_way: set[tuple[str, ...]] = set()

    def pulled() -> Iterator[Job]:
        for job in toy_jobs():
            _must(len(under_way) < subject.workers, f"{len(under_way)} jobs must not be under way at a pull")
            under_way.add(job.run_ids)
            yield job

    finished = 0
    for job, outcome in subject.executor.run(ToyTrainer(), pulled()):
        if isinstance(outcome, Trained) and outcome.block.finished:
            under_way.remove(job.run_ids)
            finished += 1
    _must(finished == len(toy_jobs()), "every job must be trained")
    _must(list(subject.executor.run(ToyTrainer(), iter(()))) == [], "no jobs must give no outcomes")


def check_a_failing_source_ends_the_run(subject: Subject, folder: Path) -> None:
    """An error of the jobs' source reaches the caller, and nothing goes on training."""
    log = folder / "log"

    def broken() -> Iterator[Job]:
        for seed in range(subject.workers):
            yield Job(specs=(toy_spec(seed=seed, steps=4 if seed == 0 else 100_000),))
        raise LookupError("no more")

    try:
        list(subject.executor.run(ToyTrainer(log=log, pause=0.01), broken()))
    except LookupError:
        _must_be_gone(log)
    else:
        raise AssertionError("an error of the source must reach the caller")


def check_a_trainer_that_raises_fails_its_job_only(subject: Subject, _folder: Path) -> None:
    """The job ends in one `Failed` of one line, and every other is trained."""
    jobs = toy_jobs(4)
    fault = ToyFault(what="raise", seed=jobs[1].specs[0].seed, step=2)
    found = _collect(subject.executor.run(ToyTrainer(fault=fault), jobs))
    failed = found[jobs[1].run_ids]
    _must([type(outcome) for outcome in failed] == [Trained, Failed], "a failure must be the last outcome")
    assert isinstance(failed[1], Failed)
    _must(failed[1].error == "ValueError: the toy broke", f"the error must be one line, {failed[1].error!r}")
    _must("executors.py" in failed[1].details, "the details must have the traceback")
    for job in (jobs[0], *jobs[2:]):
        _must_be_blocks(found[job.run_ids], list(ToyTrainer()(job.specs)))


def check_large_states_pass(subject: Subject, _folder: Path) -> None:
    """A state of megabytes comes out of a block, and a job goes on from it."""
    specs = tuple(toy_spec(seed=seed, steps=4) for seed in range(2))
    (first, _) = _collect(subject.executor.run(heavy_toy, [Job(specs=specs)]))[_ids(specs)]
    assert isinstance(first, Trained)
    state = first.block.state
    assert state is not None
    _must(len(state) > _LARGE_STATE_BYTES, "a state must come whole")
    resumed = _collect(subject.executor.run(heavy_toy, [Job(specs=specs, state=state, step=2)]))
    _must_be_blocks(resumed[_ids(specs)], list(ToyTrainer()(specs))[1:])


def check_no_worker_runs_far_ahead(subject: Subject, folder: Path) -> None:
    """While the consumer holds a block, a worker begins at most one more; closing ends it."""
    log = folder / "log"
    outcomes = subject.executor.run(ToyTrainer(log=log), [Job(specs=(toy_spec(steps=1000),))])
    next(outcomes)
    time.sleep(0.3)
    begun = len(_blocks(log))
    _must(begun <= 2, f"at most one block must be begun beyond the consumer's, found {begun - 1}")
    outcomes.close()
    _must_be_gone(log)


def check_closing_stops_everything(subject: Subject, folder: Path) -> None:
    """Closed in the middle of long blocks, an executor leaves no process and pulls no job."""
    log = folder / "log"
    pulled = iter([Job(specs=(toy_spec(seed=seed, steps=100_000),)) for seed in range(9)])
    outcomes = subject.executor.run(ToyTrainer(log=log, pause=0.1), pulled)
    next(outcomes)
    outcomes.close()
    _must_be_gone(log)
    begun = len(_blocks(log))
    time.sleep(0.3)
    _must(len(_blocks(log)) == begun, "no block must be begun after the end")
    _must(len(list(pulled)) >= 9 - subject.workers, "no job must be pulled after the end")


def check_a_killed_worker_costs_one_block(subject: Subject, folder: Path) -> None:
    """Its job goes on from the last block in another process, and nothing is lost or given twice."""
    log, jobs = folder / "log", toy_jobs(4)
    seed = jobs[2].specs[0].seed  # of 8 steps
    trainer = ToyTrainer(log=log, fault=ToyFault(what="die", seed=seed, step=4, marker=folder / "died"))
    found = _collect(subject.executor.run(trainer, jobs))
    lost = [outcome for outcome in found[jobs[2].run_ids] if isinstance(outcome, WorkerLost)]
    _must(len(lost) == 1 and lost[0].reason and "\n" not in lost[0].reason, f"one loss, in one line: {lost}")
    for job in jobs:
        trained = [outcome for outcome in found[job.run_ids] if isinstance(outcome, Trained)]
        _must_be_blocks(trained, list(ToyTrainer()(job.specs)))
    begun = [(pid, step) for pid, step, ids in _blocks(log) if ids == jobs[2].run_ids]
    _must([step for _, step in begun] == [0, 2, 4, 4, 6], f"one block must be begun again, found {begun}")
    _must(begun[3][0] != begun[2][0], "it must be begun again by another process")
    _must_be_gone(log)


def check_a_job_that_kills_its_workers_is_given_up(subject: Subject, folder: Path) -> None:
    """After three losses with no block between the job fails, and every other is trained."""
    log, jobs = folder / "log", toy_jobs(4)
    trainer = ToyTrainer(log=log, fault=ToyFault(what="die", seed=jobs[1].specs[0].seed, step=2))
    found = _collect(subject.executor.run(trainer, jobs))
    kinds = Counter(type(outcome).__name__ for outcome in found[jobs[1].run_ids])
    expected = {"Trained": 1, "WorkerLost": MOST_LOSSES - 1, "Failed": 1}
    _must(kinds == expected, f"a job must be given up after {MOST_LOSSES} losses, found {dict(kinds)}")
    last = found[jobs[1].run_ids][-1]
    assert isinstance(last, Failed)
    _must(
        "use fewer workers" in last.error and "\n" not in last.error, f"the error must help, {last.error!r}"
    )
    for job in (jobs[0], *jobs[2:]):
        _must_be_blocks(found[job.run_ids], list(ToyTrainer()(job.specs)))
    _must_be_gone(log)


def check_what_cannot_be_sent_is_said(subject: Subject, _folder: Path) -> None:
    """A trainer without a name is refused at once; a block that cannot be sent fails its job."""
    jobs = [Job(specs=(toy_spec(),))]
    nameless: Trainer = lambda specs, *, state=None: ToyTrainer()(specs, state=state)  # noqa: E731
    try:
        list(subject.executor.run(nameless, jobs))
    except ExecutorError as error:
        _must("importable by name" in str(error), f"the error must say what to do, found {error!s}")
    else:
        raise AssertionError("a trainer without a name must be refused")
    (outcome,) = _collect(subject.executor.run(unsendable_toy, jobs))[jobs[0].run_ids]
    _must(isinstance(outcome, Failed) and "the toy cannot be sent" in outcome.error, f"found {outcome}")


EXECUTOR_CHECKS: tuple[Callable[[Subject, Path], None], ...] = (
    check_blocks_are_the_trainers,
    check_jobs_are_pulled_when_a_worker_is_free,
    check_a_failing_source_ends_the_run,
    check_a_trainer_that_raises_fails_its_job_only,
    check_large_states_pass,
    check_no_worker_runs_far_ahead,
    check_closing_stops_everything,
)
"""For every executor: each takes the executor and an empty folder."""

WORKER_CHECKS: tuple[Callable[[Subject, Path], None], ...] = (
    check_a_killed_worker_costs_one_block,
    check_a_job_that_kills_its_workers_is_given_up,
    check_what_cannot_be_sent_is_said,
)
"""For those that train in other processes, whose deaths they survive."""


def _must(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _ids(specs: Sequence[RunSpec]) -> tuple[str, ...]:
    return tuple(spec.id for spec in specs)


def _collect(outcomes: Iterator[tuple[Job, Outcome]]) -> dict[tuple[str, ...], list[Outcome]]:
    """What happened to each job, in order."""
    found: dict[tuple[str, ...], list[Outcome]] = {}
    for job, outcome in outcomes:
        found.setdefault(job.run_ids, []).append(outcome)
    return found


def _must_be_blocks(outcomes: Sequence[Outcome], expected: Sequence[BlockLike]) -> None:
    """Every outcome is a block, timed, with exactly the numbers expected."""
    _must(len(outcomes) == len(expected), f"{len(expected)} blocks must come, found {len(outcomes)}")
    for outcome, block in zip(outcomes, expected, strict=True):
        _must(isinstance(outcome, Trained) and outcome.seconds > 0, f"a block must come, found {outcome}")
        assert isinstance(outcome, Trained)
        found = outcome.block
        _must((found.step, found.finished) == (block.step, block.finished), "blocks must come in order")
        for name, (steps, values) in block.metrics.items():
            _must(np.array_equal(found.metrics[name][0], steps), f"the steps of {name} must be kept")
            _must(np.array_equal(found.metrics[name][1], values), f"the values of {name} must be kept")
        for name, values in block.trace.items():
            _must(np.array_equal(found.trace[name], values), f"the trace of {name} must be kept")


def _blocks(log: Path) -> list[tuple[int, int, tuple[str, ...]]]:
    """Every block that was begun: process, steps before it, run ids."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(int(pid), int(step), tuple(ids.split(","))) for pid, step, ids in lines]


def _must_be_gone(log: Path) -> None:
    """No other process that began a block lives, or will in a while."""
    others = {pid for pid, _, _ in _blocks(log)} - {os.getpid()}
    end = time.monotonic() + _PATIENCE_SECONDS
    while others:
        others = {pid for pid in others if _alive(pid)}
        _must(time.monotonic() < end, f"no worker must be left, found processes {sorted(others)}")
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # gone meanwhile, or a system without such files
        return not Path("/proc/self/stat").exists()
