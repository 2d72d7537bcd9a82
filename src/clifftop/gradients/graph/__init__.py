"""The graph engine: per-example gradients from the autograd graph of one ordinary forward pass."""

from clifftop.gradients.graph.choices import Choices, Measured, Predicted
from clifftop.gradients.graph.engine import GraphEngine
from clifftop.gradients.graph.recorded import RecordedCall, differentiable, record_call

__all__ = [
    "Choices",
    "GraphEngine",
    "Measured",
    "Predicted",
    "RecordedCall",
    "differentiable",
    "record_call",
]
