"""Checks of one training step, of any library or a user's own loop, against its claim.

Most need no statistics: the largest change that one example can make is searched for, the noise is looked
at by itself, and nothing may cross from one example or step to another. `check_step` makes them all in a
second or so, for `ours` or for any object that is a `PrivateStepUnderTest`.
"""

from clifftop.audit.steps.adapter import (
    PrivateStepUnderTest,
    Sampling,
    SamplingClaim,
    StepClaim,
    UnusableStep,
    Vector,
)
from clifftop.audit.steps.draws import NoiseDraws, draw_noise
from clifftop.audit.steps.examples import hard_examples
from clifftop.audit.steps.findings import StepCheck, Witness
from clifftop.audit.steps.noise import check_noise
from clifftop.audit.steps.own import OwnStep, ours
from clifftop.audit.steps.run import StepReport, check_step
from clifftop.audit.steps.sampler import BatchDraws, check_sampler, draw_batches
from clifftop.audit.steps.sensitivity import Worst, check_sensitivity, search
from clifftop.audit.steps.state import check_history, check_linearity
from clifftop.audit.steps.sums import check_empty

__all__ = [
    "BatchDraws",
    "NoiseDraws",
    "OwnStep",
    "PrivateStepUnderTest",
    "Sampling",
    "SamplingClaim",
    "StepCheck",
    "StepClaim",
    "StepReport",
    "UnusableStep",
    "Vector",
    "Witness",
    "Worst",
    "check_empty",
    "check_history",
    "check_linearity",
    "check_noise",
    "check_sampler",
    "check_sensitivity",
    "check_step",
    "draw_batches",
    "draw_noise",
    "hard_examples",
    "ours",
    "search",
]
