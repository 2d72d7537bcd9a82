"""The published study's cliff; it lives in `clifftop.analysis.cliffs`."""

from clifftop.analysis.cliffs.published import COLLAPSE_FRACTION, SAFE_FRACTION, Cliff, Point, find_cliff

__all__ = ["COLLAPSE_FRACTION", "SAFE_FRACTION", "Cliff", "Point", "find_cliff"]
