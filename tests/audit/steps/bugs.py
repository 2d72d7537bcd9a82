"""The correct step of the zoo, its faults by name, and the check that must find each."""

from clifftop.testing.zoo import STEP_BUGS as BUGS
from clifftop.testing.zoo.bugs.clipping import DividedByTheRealisedSize, PerLayerAtC, SumClipped
from clifftop.testing.zoo.bugs.noise import EmptyBatchRefused
from clifftop.testing.zoo.step import DIVISOR, SIGMA, C, CorrectStep, P

__all__ = [
    "BUGS",
    "DIVISOR",
    "SIGMA",
    "C",
    "CorrectStep",
    "DividedByTheRealisedSize",
    "EmptyBatchRefused",
    "P",
    "PerLayerAtC",
    "SumClipped",
]
