"""Samplers: which examples make up each batch. No torch here."""

from clifftop.sampling.base import BatchSampler, Indices, StepGenerators
from clifftop.sampling.fixed_order import FixedOrder
from clifftop.sampling.poisson import Poisson

__all__ = ["BatchSampler", "FixedOrder", "Indices", "Poisson", "StepGenerators"]
