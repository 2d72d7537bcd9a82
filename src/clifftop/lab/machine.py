"""How much of the machine a sweep takes, and which part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from clifftop.lab.cohort import LARGEST_COHORT, cohort_size, memory_budget, static_key, train_cohort
from clifftop.lab.contract import RunStore
from clifftop.lab.executors import ProcessPool, executor_named
from clifftop.lab.executors.pool import usable_cores
from clifftop.lab.jobs import Executor, ExecutorError, Trainer
from clifftop.lab.spec import RunSpec

_WORTH_A_POOL = 200_000  # steps over all runs; below, starting another process costs more than it saves


def executor_for(
    name: str | None, *, workers: int | None, steps: int, address: str | None = None
) -> Executor:
    """The executor that is named; by default this process for little work, and a pool for much.

    Args:
        name: of the executor (`clifftop.lab.executors.EXECUTORS`); None chooses.
        workers: how many train at a time; None is one for each core.
        steps: of all runs together.
        address: of a running Ray cluster.

    Raises:
        ExecutorError, ValueError: no such executor, or it cannot have that many workers.
    """
    if address is not None and name is None:
        raise ExecutorError(
            f"an address is of a Ray cluster, found address={address!r}; name the executor ray"
        )
    if name is not None:
        return executor_named(name, workers=workers, address=address)
    wanted = (1 if steps < _WORTH_A_POOL else usable_cores()) if workers is None else workers
    return executor_named("in-process") if wanted == 1 else executor_named("pool", workers=wanted)


def require_device(device: str) -> None:
    """Refuse a device that torch does not have here.

    Raises:
        ValueError: it does not.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be one of torch's, found device={device!r}; use cpu or cuda") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be there, found device={device!r} and no CUDA; use cpu")


def trainer_on(device: str, executor: Executor | None, *, per_layer: bool = False) -> Trainer:
    """What trains cohorts there; the workers of a pool share the memory.

    ``per_layer`` also records diagnostics layer by layer.
    """
    return partial(train_cohort, device=device, budget_bytes=_budget(device, executor), per_layer=per_layer)


def sizes_on(device: str, executor: Executor | None, store: RunStore) -> Callable[[RunSpec], int]:
    """How many runs train together there: what the store was told first, so that processes agree."""
    budget = _budget(device, executor)

    def size(spec: RunSpec) -> int:
        return store.cohort_size(
            static_key(spec), lambda: cohort_size(spec, budget_bytes=budget, device=device)
        )

    return size


@contextmanager
def threads_for(spec: RunSpec) -> Iterator[None]:
    """One thread for a model so small that its cohorts reach the largest size; else as many as torch has.

    On such a model two threads mostly wait for each other.
    """
    before = torch.get_num_threads()
    if before > 1 and cohort_size(spec) == LARGEST_COHORT:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _budget(device: str, executor: Executor | None) -> int | None:
    """A worker's share of this machine's memory; None leaves it to where the worker is."""
    if isinstance(executor, ProcessPool):
        return memory_budget(device, workers=executor.workers)
    return None
