"""The lab: sweeps, specs with content ids, cohorts, a store that survives a crash, and its tables.

Names are loaded when first used, so that reading a store needs neither torch nor a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.lab import tables
    from clifftop.lab.cohort import Block, cohort_size, memory_budget, static_key, train_cohort
    from clifftop.lab.contract import Checkpoint, Claimed, RunSetting, RunStore, Status, StoreError
    from clifftop.lab.costs import SearchCost, search_cost
    from clifftop.lab.data import load_data
    from clifftop.lab.executors import InProcess, ProcessPool, RayCluster, executor_named
    from clifftop.lab.jobs import Executor, ExecutorError
    from clifftop.lab.reading.folders import frontier, open_runs
    from clifftop.lab.runner import Progress, SweepError, SweepResult, run_sweep
    from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec, SpecError
    from clifftop.lab.store import Store
    from clifftop.lab.sweep import Sweep, load_sweep, train_sweep

__getattr__ = names_from(
    __name__,
    {
        "Block": "cohort",
        "Checkpoint": "contract",
        "Claimed": "contract",
        "Executor": "jobs",
        "ExecutorError": "jobs",
        "Factory": "spec",
        "InProcess": "executors",
        "OptimizerSpec": "spec",
        "ProcessPool": "executors",
        "Progress": "runner",
        "RayCluster": "executors",
        "RunSetting": "contract",
        "RunSpec": "spec",
        "RunStore": "contract",
        "SearchCost": "costs",
        "SpecError": "spec",
        "Status": "contract",
        "Store": "store",
        "StoreError": "contract",
        "Sweep": "sweep",
        "SweepError": "runner",
        "SweepResult": "runner",
        "cohort_size": "cohort",
        "executor_named": "executors",
        "frontier": "reading.folders",
        "load_data": "data",
        "load_sweep": "sweep",
        "memory_budget": "cohort",
        "open_runs": "reading.folders",
        "run_sweep": "runner",
        "search_cost": "costs",
        "static_key": "cohort",
        "tables": "",
        "train_cohort": "cohort",
        "train_sweep": "sweep",
    },
)

__all__ = [
    "Block",
    "Checkpoint",
    "Claimed",
    "Executor",
    "ExecutorError",
    "Factory",
    "InProcess",
    "OptimizerSpec",
    "ProcessPool",
    "Progress",
    "RayCluster",
    "RunSetting",
    "RunSpec",
    "RunStore",
    "SearchCost",
    "SpecError",
    "Status",
    "Store",
    "StoreError",
    "Sweep",
    "SweepError",
    "SweepResult",
    "cohort_size",
    "executor_named",
    "frontier",
    "load_data",
    "load_sweep",
    "memory_budget",
    "open_runs",
    "run_sweep",
    "search_cost",
    "static_key",
    "tables",
    "train_cohort",
    "train_sweep",
]
