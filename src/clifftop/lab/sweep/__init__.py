"""A sweep of the user's own work: the sweep as a value, the file that it is written in, and its training.

What trains is loaded when first used, so that a sweep can be read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lab.spec import Factory
from clifftop.lab.sweep.adaptive import Optuna
from clifftop.lab.sweep.axes import Axes
from clifftop.lab.sweep.axis import Axis, Between, Choices, Counted, Scale
from clifftop.lab.sweep.base import Sweep
from clifftop.lab.sweep.choices import Goal, Release, SharingMode
from clifftop.lab.sweep.errors import SweepFault, SweepFileError
from clifftop.lab.sweep.files import load_sweep
from clifftop.lab.sweep.search import Fixed, Grid, Point, Random, Scored, Search, Sobol
from clifftop.lab.sweep.stored import sweep_from_json
from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.lab.sweep.best import Cell
    from clifftop.lab.sweep.planned import Group, PlannedSweep, plan_sweep
    from clifftop.lab.sweep.train import TrainedSweep, train_sweep

__getattr__ = names_from(
    __name__,
    {
        "Cell": "best",
        "Group": "planned",
        "PlannedSweep": "planned",
        "TrainedSweep": "train",
        "plan_sweep": "planned",
        "train_sweep": "train",
    },
)

__all__ = [
    "Axes",
    "Axis",
    "Between",
    "Cell",
    "Choices",
    "Counted",
    "Factory",
    "Fixed",
    "Goal",
    "Grid",
    "Group",
    "Optuna",
    "PlannedSweep",
    "Point",
    "Random",
    "Release",
    "Scale",
    "Scored",
    "Search",
    "SharingMode",
    "Sobol",
    "Sweep",
    "SweepFault",
    "SweepFileError",
    "TrainedSweep",
    "load_sweep",
    "plan_sweep",
    "sweep_from_json",
    "train_sweep",
]

# Stored files name a class by where it is public, which stays when its definition moves.
for _public in (Between, Choices, Counted, Grid, Optuna, Random, Release, Scale, SharingMode, Sobol, Sweep):
    _public.__module__ = __name__
