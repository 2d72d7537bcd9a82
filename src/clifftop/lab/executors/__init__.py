"""Who trains the cohorts: this process, a pool of processes, or a Ray cluster.

All give the same blocks for a job. None touches the store: blocks come to the one consumer of `run`, which
commits them. `clifftop.testing.executors.EXECUTOR_CHECKS` says what else any executor must hold.
"""

from __future__ import annotations

from clifftop.lab.executors.in_process import InProcess
from clifftop.lab.executors.pool import ProcessPool, usable_cores
from clifftop.lab.executors.ray import RayCluster
from clifftop.lab.executors.ray_session import import_ray
from clifftop.lab.jobs import Executor, ExecutorError

EXECUTORS = ("in-process", "pool", "ray")
"""The names that `executor_named` knows."""


def executor_named(name: str, *, workers: int | None = None, address: str | None = None) -> Executor:
    """The executor that a command line names.

    Args:
        name: ``"in-process"``, ``"pool"`` or ``"ray"``.
        workers: how many train at a time; None means one a core, or for Ray as many as there is room for.
        address: of a running Ray cluster; None means ``RAY_ADDRESS``, or a cluster of its own.

    Raises:
        ExecutorError: no such name, an option that the executor does not have, or a missing package.
        ValueError: ``workers`` < 1.

    >>> executor_named("pool", workers=2)
    ProcessPool(workers=2)
    """
    if name not in EXECUTORS:
        raise ExecutorError(f"executor must be one of {', '.join(EXECUTORS)}, found executor={name!r}")
    if address is not None and name != "ray":
        raise ExecutorError(f"only executor='ray' has an address, found address={address!r}; leave it out")
    if name == "ray":
        import_ray()
        return RayCluster(workers=workers, address=address)
    if name == "pool":
        return ProcessPool(workers=usable_cores() if workers is None else workers)
    if workers not in (None, 1):
        raise ExecutorError(f"executor='in-process' has one worker, found workers={workers}; use 'pool'")
    return InProcess()


__all__ = ["EXECUTORS", "InProcess", "ProcessPool", "RayCluster", "executor_named"]
