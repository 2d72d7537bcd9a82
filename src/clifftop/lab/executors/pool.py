"""A pool of processes on this machine.

Every worker has its own pipe, so that a worker that is killed mid-message harms no other. Workers end with
their parent, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import final

from clifftop.lab.executors.crew import Crew, Shift, Worker, pickled
from clifftop.lab.executors.interrupts import interrupts_held
from clifftop.lab.executors.worker import GO_ON, serve
from clifftop.lab.jobs import ExecutorError, Job, Outcome, Trainer, WorkerLost

_PATIENCE_SECONDS = 5.0  # for a process that was told to end


@final
@dataclass(frozen=True, kw_only=True)
class ProcessPool:
    """Trains jobs in up to ``workers`` processes, one torch thread each.

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

    @property
    def most_workers(self) -> int:
        """``workers``."""
        return self.workers

    def run(self, trainer: Trainer, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """See `clifftop.lab.jobs.Executor.run`."""
        message = pickled(trainer)
        resource_tracker.ensure_running()  # started later, it would lift the hold on Ctrl-C
        yield from Shift(_Processes(self.workers, message), jobs).run()


@final
class _Process(Worker):
    """A process, and this end of its pipe."""

    def __init__(self, message: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._ready = False
        self._process: SpawnProcess = context.Process(target=serve, args=(theirs,), name="clifftop-worker")
        with interrupts_held():  # a process inherits it
            self._process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._send(message)

    def ask(self, job: Job | None) -> None:
        self._send(GO_ON if job is None else pickle.dumps(job))

    def answer(self) -> Outcome | None:
        try:
            outcome: Outcome | None = self.pipe.recv()
        except (EOFError, OSError):
            return self._lost()
        self._ready = True
        return outcome

    def _lost(self) -> WorkerLost:
        self._process.join(_PATIENCE_SECONDS)
        code = self._process.exitcode
        reason = f"a worker process ended with exit code {code}"
        if not self._ready and code is not None and code >= 0:  # not killed: the next would end so, too
            raise ExecutorError(
                f"{reason} before it was ready; a script must start its work under if __name__ == '__main__'"
            )
        return WorkerLost(reason=reason)

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # a worker that has died is noticed by `answer`
            self.pipe.send_bytes(message)

    def dismiss(self) -> None:
        self.pipe.close()  # ends its loop
        self._process.join(_PATIENCE_SECONDS)
        self.stop()

    def stop(self) -> None:
        self.pipe.close()
        for end in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                end()
                self._process.join(_PATIENCE_SECONDS)


@final
class _Processes(Crew[_Process]):
    """Starts processes that know the trainer."""

    def __init__(self, size: int, message: bytes) -> None:
        self._size, self._message = size, message

    @property
    def size(self) -> int:
        return self._size

    def hire(self) -> _Process:
        return _Process(self._message)

    def wait(self, workers: Sequence[_Process]) -> list[_Process]:
        by_pipe = {worker.pipe: worker for worker in workers}
        ready = set(wait(list(by_pipe)))
        return [worker for pipe, worker in by_pipe.items() if pipe in ready]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
