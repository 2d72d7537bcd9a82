"""Studies: whole questions as presets, from runs to a results folder."""

from clifftop.studies.base import Axes, Grid, Study
from clifftop.studies.run import (
    StudyResult,
    UnknownStudy,
    get,
    names,
    recompute_epsilon,
    run_study,
)

__all__ = [
    "Axes",
    "Grid",
    "Study",
    "StudyResult",
    "UnknownStudy",
    "get",
    "names",
    "recompute_epsilon",
    "run_study",
]
