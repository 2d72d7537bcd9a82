"""The worker's side: a trainer, loaded once, and one job at a time, a block a request."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import cast, final

from clifftop.lab.jobs import Failed, Job, Trained, Trainer, one_line, train

GO_ON = b""
"""The request for the next block of the job under way; any other request is a pickled job to begin."""


@final
class Bench:
    """Where a worker trains. What it loads for one job (data, compiled plans) it has for the next.

    Args:
        message: the pickled trainer.
        threads: how many torch may use.

    Raises:
        Exception: whatever importing the trainer raises.
    """

    def __init__(self, message: bytes, *, threads: int = 1) -> None:
        self._trainer: Trainer = pickle.loads(message)
        self._outcomes: Generator[Trained | Failed, None, None] | None = None
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)

    def answer(self, request: bytes) -> bytes:
        """The pickled outcome of the next block: of a job to begin, or of the one under way (`GO_ON`)."""
        if request != GO_ON:
            self._begin(request)
        assert self._outcomes is not None
        outcome = next(self._outcomes)
        if isinstance(outcome, Failed) or outcome.block.finished:
            self._outcomes.close()  # what it holds is free before the next job is asked for
        try:
            return pickle.dumps(outcome)
        except Exception as error:  # noqa: BLE001 - a block is the trainer's own; that it cannot be sent is an outcome
            self._outcomes.close()
            return pickle.dumps(Failed(error=one_line(error), details="a block could not be sent"))

    def _begin(self, request: bytes) -> None:
        self._outcomes = None
        try:
            job: Job = pickle.loads(request)
        except Exception as error:  # noqa: BLE001 - whatever importing its classes raises fails the job
            failed = Failed(error=one_line(error), details="a worker could not read the job")
            self._outcomes = (outcome for outcome in [failed])
        else:
            self._outcomes = cast("Generator[Trained | Failed, None, None]", train(self._trainer, job))


def serve(pipe: Connection) -> None:
    """The life of a process of a pool: load the trainer, say so (None), answer until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it stops its workers
    _end_with_parent()
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with suppress(EOFError, OSError):
        try:
            bench = Bench(pipe.recv_bytes())
        except Exception as error:  # noqa: BLE001 - the parent's to report
            pipe.send(Failed(error=one_line(error), details=""))
            return
        pipe.send(None)
        while True:
            pipe.send_bytes(bench.answer(pipe.recv_bytes()))


def _end_with_parent() -> None:
    """End this process at once when its parent does, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
