"""Who trains the cohorts: this process, or a pool of processes. Both give the same blocks per job.

In the pool every worker has its own pipe, so that a worker that is killed mid-message harms no other;
the pipe's buffer bounds how far a worker runs ahead of the consumer. A worker that dies is replaced,
and its job goes on from its last block. Workers end with their parent, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import cast, final

from clifftop.lab.jobs import (
    ExecutorError,
    Failed,
    Job,
    Outcome,
    Trained,
    Trainer,
    WorkerLost,
    one_line,
    train,
)

_MOST_LOSSES = 3  # workers that one job may lose with no block between before it is given up
_PATIENCE_SECONDS = 5.0  # for a process that was told to end


@final
@dataclass(frozen=True, kw_only=True)
class InProcess:
    """Trains one job after another in this process."""

    def run(self, trainer: Trainer, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """See `clifftop.lab.jobs.Executor.run`."""
        for job in jobs:
            for outcome in train(trainer, job):
                yield job, outcome


@final
@dataclass(frozen=True, kw_only=True)
class ProcessPool:
    """Trains jobs in ``workers`` processes, one torch thread each.

    A script that uses it must start its work under ``if __name__ == "__main__":``, because every worker
    imports the main module. The trainer must be importable by name.

    Raises:
        ValueError: ``workers`` < 1.
        ExecutorError: a worker ends before it is ready (from `run`).
    """

    workers: int

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ValueError(f"workers must be a whole number >= 1, found workers={self.workers!r}")

    def run(self, trainer: Trainer, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """See `clifftop.lab.jobs.Executor.run`."""
        message, waiting = _pickled(trainer), deque(jobs)
        active: list[_Worker] = []
        resource_tracker.ensure_running()  # started later, it would lift the hold on Ctrl-C
        try:
            while waiting and len(active) < self.workers:
                with _interrupts_held():  # until the worker is where `finally` finds it
                    active.append(_Worker(message, waiting.popleft()))
            while active:
                workers = {worker.pipe: worker for worker in active}
                for pipe in wait(list(workers)):
                    worker = workers[cast(Connection, pipe)]
                    job, outcome = worker.job, worker.receive()
                    if outcome is not None:
                        yield job, outcome
                    if _ends_job(outcome):
                        if waiting:
                            worker.take(waiting.popleft())
                        else:
                            worker.dismiss()
                            active.remove(worker)
        finally:
            with _interrupts_held():  # a second Ctrl-C must not leave a worker behind
                for worker in active:
                    worker.stop()


def _pickled(trainer: Trainer) -> bytes:
    try:
        return pickle.dumps(trainer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ExecutorError(f"a trainer for a process pool must be importable by name ({error})") from error


def _ends_job(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Failed) or (isinstance(outcome, Trained) and outcome.block.finished)


@final
class _Worker:
    """One slot of the pool: a job, and the process that trains it, replaced when it dies."""

    def __init__(self, message: bytes, job: Job) -> None:
        self._message, self.job, self._losses = message, job, 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._ready = False
        self._process: SpawnProcess = context.Process(target=_work, args=(theirs,), name="clifftop-worker")
        with _interrupts_held():  # a process inherits it
            self._process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._send(self._message)

    def take(self, job: Job) -> None:
        """Go on to another job."""
        self.job, self._losses = job, 0
        if self._process.is_alive():
            self._send(pickle.dumps(job))
        else:
            self.stop()
            self._start()

    def receive(self) -> Outcome | None:
        """The next thing that happened to the job; None when a process has become ready for it."""
        try:
            outcome: Outcome | None = self.pipe.recv()
        except (EOFError, OSError):
            return self._replace()
        if outcome is None:
            self._ready = True
            self._send(pickle.dumps(self.job))
        elif not self._ready:
            assert isinstance(outcome, Failed)
            raise ExecutorError(f"a worker must be able to load the trainer, found {outcome.error}")
        elif isinstance(outcome, Trained):
            self.job, self._losses = replace(self.job, state=outcome.block.state, step=outcome.block.step), 0
        return outcome

    def _replace(self) -> Outcome:
        self._process.join(_PATIENCE_SECONDS)
        reason = f"a worker process ended with exit code {self._process.exitcode}"
        if not self._ready:
            raise ExecutorError(
                f"{reason} before it was ready; a script must start its work under if __name__ == '__main__'"
            )
        self.stop()
        self._losses += 1
        if self._losses >= _MOST_LOSSES:
            details = f"{self._losses} workers in a row; if memory ran out, use fewer workers"
            return Failed(error=f"WorkerLost: {reason}, the last of {details}", details=details)
        self._start()
        return WorkerLost(reason=reason)

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # a worker that has died is noticed by `receive`
            self.pipe.send_bytes(message)

    def dismiss(self) -> None:
        """Let an idle process end by itself."""
        self.pipe.close()
        self._process.join(_PATIENCE_SECONDS)
        self.stop()

    def stop(self) -> None:
        """End the process now, whatever it does."""
        self.pipe.close()
        for end in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                end()
                self._process.join(_PATIENCE_SECONDS)


@contextmanager
def _interrupts_held() -> Generator[None, None, None]:
    """Put Ctrl-C off for the calling thread, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection) -> None:
    """A worker's life: load the trainer, say ready (None), train jobs until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it stops its workers
    _end_with_parent()
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with suppress(EOFError, OSError):
        try:
            trainer: Trainer = pickle.loads(pipe.recv_bytes())
        except Exception as error:  # noqa: BLE001 - whatever importing it raises is the parent's to report
            pipe.send(Failed(error=one_line(error), details=""))
            return
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        pipe.send(None)
        while True:
            for outcome in _outcomes(trainer, pipe.recv_bytes()):
                pipe.send(outcome)


def _outcomes(trainer: Trainer, message: bytes) -> Iterator[Trained | Failed]:
    try:
        job: Job = pickle.loads(message)
    except Exception as error:  # noqa: BLE001 - whatever importing its classes raises fails the job
        yield Failed(error=one_line(error), details="a worker could not read the job")
        return
    yield from train(trainer, job)


def _end_with_parent() -> None:
    """End this process at once when its parent does, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
