"""Planted privacy bugs, each with the real case it is made after and the check that must catch it.

Bugs of one step are small changes of `CorrectStep`, which `clifftop.audit.steps.check_step` looks at; bugs of
all that lies around it are small changes of `Trainer`, for `clifftop.audit.trainings.check_training`.
"""

from clifftop.testing.zoo.bug import Bug, BugKind
from clifftop.testing.zoo.bugs import (
    accounting,
    clipping,
    coupling,
    distributed,
    noise,
    preprocessing,
    sampling,
    state,
    tuning,
)
from clifftop.testing.zoo.step import CorrectStep
from clifftop.testing.zoo.suite import examine
from clifftop.testing.zoo.trainer import Trainer

STEP_BUGS: tuple[Bug, ...] = (*clipping.BUGS, *noise.BUGS, *sampling.BUGS, *coupling.BUGS)
TRAINING_BUGS: tuple[Bug, ...] = (
    *accounting.BUGS,
    *state.BUGS,
    *distributed.BUGS,
    *preprocessing.BUGS,
    *tuning.BUGS,
)
ZOO: tuple[Bug, ...] = (*STEP_BUGS, *TRAINING_BUGS)

__all__ = [
    "STEP_BUGS",
    "TRAINING_BUGS",
    "ZOO",
    "Bug",
    "BugKind",
    "CorrectStep",
    "Trainer",
    "examine",
]
