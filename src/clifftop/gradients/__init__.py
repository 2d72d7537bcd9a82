"""Gradient engines: per-example norms and weighted sums, exact or refused."""

from clifftop.gradients.base import Criterion, GradientEngine, PerExampleLoss, UnsupportedModule
from clifftop.gradients.chain import ChainEngine
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.loop import LoopEngine
from clifftop.gradients.tape import TapeEngine
from clifftop.gradients.vmap import VmapEngine

__all__ = [
    "ChainEngine",
    "Criterion",
    "GradientEngine",
    "GraphEngine",
    "LoopEngine",
    "PerExampleLoss",
    "TapeEngine",
    "UnsupportedModule",
    "VmapEngine",
]
