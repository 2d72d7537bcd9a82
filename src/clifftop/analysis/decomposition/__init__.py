"""Where utility was lost: architecture, clipping, noise, their interaction, and undertraining."""

from clifftop.analysis.decomposition.answers import (
    COST_AT_BEST_LR,
    COST_AT_LR,
    COST_BELOW,
    COST_RECOVERED,
    ClippingAnswer,
    clipping_answers,
)
from clifftop.analysis.decomposition.decompose import decompose
from clifftop.analysis.decomposition.values import CellLoss, Decomposition, StoppableRun, TrainingFits

__all__ = [
    "COST_AT_BEST_LR",
    "COST_AT_LR",
    "COST_BELOW",
    "COST_RECOVERED",
    "CellLoss",
    "ClippingAnswer",
    "Decomposition",
    "StoppableRun",
    "TrainingFits",
    "clipping_answers",
    "decompose",
]
