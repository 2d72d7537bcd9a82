"""Runs trained as one: everything that differs between them is data on the run axis.

Noise multiplier, clip norm, learning rate, seed and noise seed are data; the model, the data's shape,
the kinds of sampler, clipping, noise and optimiser, and the number of steps are shared. Run r of a
cohort equals the same spec trained alone: its draws come from its own streams, and no operation mixes
runs. The equality is up to the round-off of one batched product (1e-6 relative in float32), because
a matrix library may choose another order of summation for another batch size.
"""

from clifftop.lab.cohort.block import Block
from clifftop.lab.cohort.grouping import static_key
from clifftop.lab.cohort.size import LARGEST_COHORT, cohort_size, memory_budget
from clifftop.lab.cohort.train import train_cohort

__all__ = ["LARGEST_COHORT", "Block", "cohort_size", "memory_budget", "static_key", "train_cohort"]
