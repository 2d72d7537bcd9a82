"""What a pool and a cluster have in common: who gets which job, and what follows when a worker dies.

A worker is asked for one block at a time, and for the next as soon as the last has arrived. It therefore
trains one block while the consumer commits the one before, and never runs further ahead: what its death, or
the consumer's, can cost is that one block.

A job is pulled when a worker is about to be started for it, or is free, and everything that was yielded has
been consumed by then. A lost job goes first to whichever worker is free next.
"""

from __future__ import annotations

import logging
import pickle
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, final

from clifftop.lab.executors.interrupts import interrupts_held
from clifftop.lab.jobs import ExecutorError, Failed, Job, Outcome, Trained, Trainer, WorkerLost

MOST_LOSSES = 3
"""Workers that one job may lose with no block between before it is given up."""

_log = logging.getLogger(__name__)


class Worker(ABC):
    """A worker as its driver sees it. Its first answer says that it is ready; it is asked for all others."""

    @abstractmethod
    def ask(self, job: Job | None) -> None:
        """Ask for the next block of ``job``, or (None) of the one under way; to ask the dead is no error."""

    @abstractmethod
    def answer(self) -> Outcome | None:
        """The answer that `Crew.wait` announced; None means ready.

        Raises:
            ExecutorError: it ended by its own fault before it was ready, as every other would.
        """

    @abstractmethod
    def dismiss(self) -> None:
        """End an idle worker."""

    @abstractmethod
    def stop(self) -> None:
        """End it now, whatever it does; more than once does no harm."""


W = TypeVar("W", bound=Worker)


class Crew(ABC, Generic[W]):
    """Starts workers and waits for them."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many workers there may be at a time."""

    @abstractmethod
    def hire(self) -> W:
        """Start a worker."""

    @abstractmethod
    def wait(self, workers: Sequence[W]) -> Iterable[W]:
        """Block until some of ``workers`` have an answer, and return these."""


def pickled(trainer: Trainer) -> bytes:
    """The trainer as a message to workers.

    Raises:
        ExecutorError: it cannot be named by an import.
    """
    try:
        return pickle.dumps(trainer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ExecutorError(f"a trainer for workers must be importable by name ({error})") from error


@final
@dataclass(frozen=True, kw_only=True)
class _Task:
    """A job where it stands, and the workers it has lost since its last block."""

    job: Job
    losses: int = 0


@final
class Shift(Generic[W]):
    """One call of `Executor.run`: hands jobs to a crew until there are none left."""

    def __init__(self, crew: Crew[W], jobs: Iterable[Job]) -> None:
        self._crew, self._source = crew, iter(jobs)
        self._exhausted = False
        self._waiting: deque[_Task] = deque()  # pulled or lost, with no worker yet
        self._active: dict[W, _Task | None] = {}  # None: not ready yet
        self._false_starts = 0

    def run(self) -> Generator[tuple[Job, Outcome], None, None]:
        """Yield what happens to each job; at the end, however it comes, no worker is left."""
        try:
            self._staff()
            while not self._over():
                for worker in self._crew.wait(list(self._active)):
                    yield from self._hear(worker)
        finally:
            with interrupts_held():  # a second Ctrl-C must not leave a worker behind
                for worker in self._active:
                    worker.stop()

    def _over(self) -> bool:
        at_work = any(task is not None for task in self._active.values())
        return self._exhausted and not self._waiting and not at_work

    def _pull(self) -> _Task | None:
        if self._waiting:
            return self._waiting.popleft()
        job = None if self._exhausted else next(self._source, None)
        self._exhausted = job is None
        return None if job is None else _Task(job=job)

    def _staff(self) -> None:
        """Start workers while there are jobs that need one."""
        while len(self._active) < self._crew.size:
            starting = sum(task is None for task in self._active.values())
            if starting >= len(self._waiting):
                if self._exhausted or (job := next(self._source, None)) is None:
                    self._exhausted = True
                    return
                self._waiting.append(_Task(job=job))
            with interrupts_held():  # until the worker is where `finally` finds it
                self._active[self._crew.hire()] = None

    def _employ(self, worker: W) -> None:
        """Give a free worker the next job, or let it go."""
        task = self._pull()
        if task is None:
            with interrupts_held():
                worker.dismiss()
                del self._active[worker]
        else:
            self._active[worker] = task
            worker.ask(task.job)

    def _hear(self, worker: W) -> Iterator[tuple[Job, Outcome]]:
        task, outcome = self._active[worker], worker.answer()
        if task is None:
            self._hear_first(worker, outcome)
            return
        match outcome:
            case Trained() if not outcome.block.finished:
                job = replace(task.job, state=outcome.block.state, step=outcome.block.step)
                self._active[worker] = _Task(job=job)
                worker.ask(None)
                yield task.job, outcome
            case WorkerLost():
                yield task.job, self._lose(worker, task, outcome)
                self._staff()
            case Trained() | Failed():
                yield task.job, outcome
                self._employ(worker)
            case None:
                raise AssertionError("a worker is ready once")

    def _hear_first(self, worker: W, outcome: Outcome | None) -> None:
        match outcome:
            case None:
                self._false_starts = 0
                self._employ(worker)
            case WorkerLost():
                self._false_starts += 1
                if self._false_starts >= MOST_LOSSES:
                    raise ExecutorError(
                        f"{MOST_LOSSES} workers in a row ended before they were ready: {outcome.reason}; "
                        "if memory ran out, use fewer workers"
                    )
                _log.warning("%s before it was ready; another is started", outcome.reason)
                self._let_go(worker)
                self._staff()
            case Failed():
                raise ExecutorError(f"a worker must be able to load the trainer, found {outcome.error}")
            case Trained():
                raise AssertionError("a worker that is not ready has no job")

    def _lose(self, worker: W, task: _Task, lost: WorkerLost) -> Outcome:
        self._let_go(worker)
        task = replace(task, losses=task.losses + 1)
        if task.losses >= MOST_LOSSES:
            details = f"{task.losses} workers in a row; if memory ran out, use fewer workers"
            return Failed(error=f"WorkerLost: {lost.reason}, the last of {details}", details=details)
        self._waiting.appendleft(task)
        return lost

    def _let_go(self, worker: W) -> None:
        with interrupts_held():
            worker.stop()
            del self._active[worker]
