"""A Ray cluster: the same workers as a pool's, as actors on any number of machines.

What crosses the network is small: the trainer once a worker, a job's specs and its last state when it
begins, and each block with its checkpoint. Data and models are named in the specs; each worker loads them
once. Needs the extra ``ray``.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from clifftop.lab.executors.crew import Crew, Shift, Worker, pickled
from clifftop.lab.executors.pool import usable_cores
from clifftop.lab.executors.ray_session import connected, quiet_ray
from clifftop.lab.executors.worker import GO_ON, Bench
from clifftop.lab.jobs import ExecutorError, Failed, Job, Outcome, Trainer, WorkerLost, one_line

_LONG_WAIT_SECONDS = 20.0  # for a first worker, before the log says why nothing happens

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """Trains jobs in actors of a Ray cluster.

    With an ``address``, or the environment variable ``RAY_ADDRESS``, it connects to that cluster; in a
    process that is connected already it uses that connection; else it starts a cluster on this machine and
    ends it with the sweep. Every machine must have clifftop and what the sweep imports installed, in the
    same versions; folders that this process has added to its ``sys.path``, and its working folder, are used
    on the workers where they exist, as on a shared file system. The trainer must be importable by name.

    Attributes:
        workers: actors at a time; None means as many as the cluster has room for at the start. More than
            there is room for are started when room comes, for instance by an autoscaler.
        address: ``"host:port"`` of a cluster's head, or ``"auto"`` for one that runs on this machine.
        cpus_per_worker: cores that Ray reserves for a worker, and its torch threads.
        gpus_per_worker: GPUs that Ray reserves for a worker; 0.5 lets two share one.

    Raises:
        ValueError: a number out of range.
        ExecutorError: Ray is missing, the cluster cannot be reached or has no room, or workers end before
            they are ready (from `run`).
    """

    workers: int | None = None
    address: str | None = None
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("cpus_per_worker", self.cpus_per_worker)):
            if name == "workers" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, found {name}={value!r}")
        gpus = self.gpus_per_worker
        if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus < math.inf:
            raise ValueError(f"gpus_per_worker must be finite and >= 0, found gpus_per_worker={gpus!r}")

    @property
    def most_workers(self) -> int:
        """``workers``, or without it what a cluster on this machine would have."""
        return self.workers or max(1, usable_cores() // self.cpus_per_worker)

    def run(self, trainer: Trainer, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """See `clifftop.lab.jobs.Executor.run`."""
        message = pickled(trainer)
        with ExitStack() as stack:
            ray = stack.enter_context(quiet_ray())
            if not ray.is_initialized():
                slots = self.most_workers * self.cpus_per_worker
                stack.enter_context(connected(ray, self.address, slots=slots))
            crew = _Actors(ray, self, _Setting(trainer=message, paths=_added_paths(), folder=str(Path.cwd())))
            yield from Shift(crew, jobs).run()


@final
@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What a worker needs to find the user's code: the trainer, pickled, and the driver's folders."""

    trainer: bytes
    paths: tuple[str, ...]
    folder: str

    def enter(self) -> None:
        """Look for modules and relative paths where the driver does, as far as these folders exist here."""
        sys.path[:0] = [path for path in self.paths if path not in sys.path]
        with suppress(OSError):
            os.chdir(self.folder)


def _added_paths() -> tuple[str, ...]:
    """The entries of ``sys.path`` that are not the interpreter's own or its packages'."""
    own = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    found = dict.fromkeys(Path(path or ".").resolve() for path in sys.path)
    return tuple(str(path) for path in found if own.isdisjoint((path, *path.parents)))


class _Actor:
    """The worker's side, in a process that Ray starts."""

    def __init__(self, setting: _Setting, threads: int) -> None:
        self._failure: bytes | None = None
        setting.enter()
        try:
            self._bench = Bench(setting.trainer, threads=threads)
        except Exception as error:  # noqa: BLE001 - the driver's to report
            self._failure = pickle.dumps(Failed(error=one_line(error), details=""))

    def ready(self) -> bytes:
        """A pickled None, or why the trainer does not load."""
        return self._failure or pickle.dumps(None)

    def answer(self, request: bytes) -> bytes:
        """See `clifftop.lab.executors.worker.Bench.answer`."""
        return self._bench.answer(request)


@final
class _Handle(Worker):
    """An actor, and the reference to the one answer that it owes."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self.owed = actor.ready.remote()

    def ask(self, job: Job | None) -> None:
        self.owed = self._actor.answer.remote(GO_ON if job is None else pickle.dumps(job))

    def answer(self) -> Outcome | None:
        errors = self._ray.exceptions
        try:
            outcome: Outcome | None = pickle.loads(self._ray.get(self.owed))
        except errors.RuntimeEnvSetupError as error:
            raise ExecutorError(f"Ray must be able to start a worker, found {one_line(error)}") from error
        except errors.RayTaskError as error:
            return Failed(error=one_line(error), details="a Ray worker could not answer")
        except errors.RayError as error:
            return WorkerLost(reason=_reason(error))
        return outcome

    def dismiss(self) -> None:
        self.stop()

    def stop(self) -> None:
        self._ray.kill(self._actor, no_restart=True)


@final
class _Actors(Crew[_Handle]):
    """Starts actors with the resources of a worker."""

    def __init__(self, ray: Any, cluster: RayCluster, setting: _Setting) -> None:
        self._ray = ray
        self._size = _size(ray.nodes(), cluster)
        self._setting = ray.put(setting)  # once, however many workers
        self._threads = cluster.cpus_per_worker
        self._remote = ray.remote(
            num_cpus=cluster.cpus_per_worker,
            num_gpus=cluster.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(_Actor)
        self._waits, self._seen = 0.0, False

    @property
    def size(self) -> int:
        return self._size

    def hire(self) -> _Handle:
        return _Handle(self._ray, self._remote.remote(self._setting, self._threads))

    def wait(self, workers: Sequence[_Handle]) -> list[_Handle]:
        by_reference = {worker.owed: worker for worker in workers}
        owed = list(by_reference)
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(owed, num_returns=1, timeout=None if self._seen else _LONG_WAIT_SECONDS)
            if not ready:
                _log.warning("no Ray worker has started yet; the cluster may be busy with other work")
        self._seen = True
        ready, _ = self._ray.wait(
            owed, num_returns=len(owed), timeout=0
        )  # all that came, so that each has a turn
        return [by_reference[reference] for reference in ready]


def _size(nodes: Iterable[Mapping[str, Any]], cluster: RayCluster) -> int:
    """How many workers to have at a time."""
    room = sum(_room(node["Resources"], cluster) for node in nodes if node["Alive"])
    if cluster.workers is None:
        if room == 0:
            raise ExecutorError(
                f"a node of the cluster must have cpus_per_worker={cluster.cpus_per_worker} and "
                f"gpus_per_worker={cluster.gpus_per_worker}, found none; "
                "ask for less, or pass workers if nodes are added on demand"
            )
        return room
    if room < cluster.workers:
        _log.warning("the Ray cluster has room for %d of %d workers", room, cluster.workers)
    return cluster.workers


def _room(resources: Mapping[str, float], cluster: RayCluster) -> int:
    """Workers that one node has room for."""
    room = math.floor(resources.get("CPU", 0.0) / cluster.cpus_per_worker)
    if cluster.gpus_per_worker > 0:
        room = min(room, math.floor(resources.get("GPU", 0.0) / cluster.gpus_per_worker))
    return room


def _reason(error: Exception) -> str:
    """In one line, what Ray says of a worker's death, which it says in many."""
    text = " ".join(str(error).split())
    place = re.search(r"\bip: (\S+)", text)
    why = re.search(r"Worker exit detail: (.*)", text) or re.search(r"actor is dead because (.*)", text)
    if why:
        said = why[1].split(". ")[0].rstrip(".")
    else:
        said = str(error).strip().splitlines()[-1].strip()  # where a traceback has its error
    return f"a Ray worker{f' on {place[1]}' if place else ''} ended ({type(error).__name__}: {said[:200]})"
