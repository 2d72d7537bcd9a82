"""Two sweeps or methods at matched epsilon."""

from __future__ import annotations

from clifftop.analysis.comparison.compare import TOLERANCE, ComparisonError, compare
from clifftop.analysis.comparison.values import Comparison, Match, Matching, Side, Verdict

__all__ = [
    "TOLERANCE",
    "Comparison",
    "ComparisonError",
    "Match",
    "Matching",
    "Side",
    "Verdict",
    "compare",
]
