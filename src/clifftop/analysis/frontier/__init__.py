"""The privacy-utility frontier: what a sweep reaches at each epsilon, how surely, and at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.analysis.frontier.pareto import pareto
from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.analysis.frontier.between import best_difference
    from clifftop.analysis.frontier.find import Frontier, find_frontier
    from clifftop.analysis.frontier.resampling import Spread
    from clifftop.analysis.frontier.values import (
        BandPoint,
        Curve,
        CurvePoint,
        FrontierPoint,
        Knee,
        Marginal,
        Optimum,
        Told,
    )

__getattr__ = names_from(
    __name__,
    {
        "BandPoint": "values",
        "Curve": "values",
        "CurvePoint": "values",
        "Frontier": "find",
        "FrontierPoint": "values",
        "Knee": "values",
        "Marginal": "values",
        "Optimum": "values",
        "Spread": "resampling",
        "Told": "values",
        "best_difference": "between",
        "find_frontier": "find",
    },
)

__all__ = [
    "BandPoint",
    "Curve",
    "CurvePoint",
    "Frontier",
    "FrontierPoint",
    "Knee",
    "Marginal",
    "Optimum",
    "Spread",
    "Told",
    "best_difference",
    "find_frontier",
    "pareto",
]
