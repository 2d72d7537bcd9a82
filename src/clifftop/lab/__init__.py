"""The lab: specs with content ids, cohorts, a store that survives a crash, and its tables.

Names are loaded when first used, so that reading a store needs neither torch nor a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.lab import tables
    from clifftop.lab.cohort import Block, cohort_size, static_key, train_cohort
    from clifftop.lab.contract import Checkpoint, RunStore, Status, StoreError
    from clifftop.lab.executors import InProcess, ProcessPool
    from clifftop.lab.jobs import Executor, ExecutorError
    from clifftop.lab.runner import Progress, SweepError, SweepResult, run_sweep
    from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec, SpecError
    from clifftop.lab.store import Store

__getattr__ = names_from(
    __name__,
    {
        "Block": "cohort",
        "Checkpoint": "contract",
        "Executor": "jobs",
        "ExecutorError": "jobs",
        "Factory": "spec",
        "InProcess": "executors",
        "OptimizerSpec": "spec",
        "ProcessPool": "executors",
        "Progress": "runner",
        "RunSpec": "spec",
        "RunStore": "contract",
        "SpecError": "spec",
        "Status": "contract",
        "Store": "store",
        "StoreError": "contract",
        "SweepError": "runner",
        "SweepResult": "runner",
        "cohort_size": "cohort",
        "run_sweep": "runner",
        "static_key": "cohort",
        "train_cohort": "cohort",
        "tables": "",
    },
)

__all__ = [
    "Block",
    "Checkpoint",
    "Executor",
    "ExecutorError",
    "Factory",
    "InProcess",
    "OptimizerSpec",
    "ProcessPool",
    "Progress",
    "RunSpec",
    "RunStore",
    "SpecError",
    "Status",
    "Store",
    "StoreError",
    "SweepError",
    "SweepResult",
    "cohort_size",
    "run_sweep",
    "static_key",
    "tables",
    "train_cohort",
]
