"""Clipping rules: from per-example norms to weights, with a bound that the sum carries."""

from clifftop.clipping.automatic import Automatic, AutomaticState
from clifftop.clipping.base import ClippingRule
from clifftop.clipping.flat import Flat, FlatState
from clifftop.clipping.per_layer import PerLayer
from clifftop.clipping.unclipped import Unclipped, UnclippedState
from clifftop.clipping.whole_batch import WholeBatch, WholeBatchState

__all__ = [
    "Automatic",
    "AutomaticState",
    "ClippingRule",
    "Flat",
    "FlatState",
    "PerLayer",
    "Unclipped",
    "UnclippedState",
    "WholeBatch",
    "WholeBatchState",
]
