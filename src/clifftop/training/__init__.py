"""The front door for one run: `Trainer`, its checkpoints, its microbatches, and what it reports."""

from clifftop.training.checkpoint import CheckpointError
from clifftop.training.deferred import DeferredNoise
from clifftop.training.health import NonFiniteGradients, NonFiniteParameters
from clifftop.training.microbatches import Automatic, Fixed, Microbatches, Whole
from clifftop.training.progress import Progress, TerminalProgress
from clifftop.training.trainer import Trainer

__all__ = [
    "Automatic",
    "CheckpointError",
    "DeferredNoise",
    "Fixed",
    "Microbatches",
    "NonFiniteGradients",
    "NonFiniteParameters",
    "Progress",
    "TerminalProgress",
    "Trainer",
    "Whole",
]
