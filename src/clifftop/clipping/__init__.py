"""Clipping rules: from per-example norms to weights, with a bound that the sum carries."""

from clifftop.clipping.base import ClippingRule
from clifftop.clipping.flat import Flat, FlatState

__all__ = ["ClippingRule", "Flat", "FlatState"]
