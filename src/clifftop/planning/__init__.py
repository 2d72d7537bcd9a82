"""Planning without spending: batch size, steps and noise for an epsilon and a compute budget, before any run.

A plan reads no data and costs no privacy. Its epsilons are certified; which row it proposes, and its clip
norm and learning rates, are heuristics.
"""

from clifftop.planning.advice import (
    Proposal,
    TrainingPlan,
    fall_per_doubling,
    noise_reach,
    plan_training,
    propose,
)
from clifftop.planning.candidates import Candidate, Question, batch_grid, candidate, candidates
from clifftop.planning.compute import Compute
from clifftop.planning.sweep_file import sweep_toml

__all__ = [
    "Candidate",
    "Compute",
    "Proposal",
    "Question",
    "TrainingPlan",
    "batch_grid",
    "candidate",
    "candidates",
    "fall_per_doubling",
    "noise_reach",
    "plan_training",
    "propose",
    "sweep_toml",
]
