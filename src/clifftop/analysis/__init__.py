"""From a results folder to its summary: means with intervals, the cliff, the frontier, the learning rate.

Names are loaded when first used: writing JSON needs no polars, and nothing here needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clifftop.analysis.cliff import Cliff, Point, find_cliff
    from clifftop.analysis.configurations import Configuration
    from clifftop.analysis.frontier import pareto
    from clifftop.analysis.jsonio import ResultsError
    from clifftop.analysis.learning_rate import BestClipNorm, BestLr, ClippingCost
    from clifftop.analysis.results import Epsilon, Results, StudyConfig, load_results, parse_results
    from clifftop.analysis.summary import Summary, summarise
    from clifftop.analysis.uncertainty import Estimate, estimate

_HOMES = {
    "BestClipNorm": "learning_rate",
    "BestLr": "learning_rate",
    "Cliff": "cliff",
    "ClippingCost": "learning_rate",
    "Configuration": "configurations",
    "Epsilon": "results",
    "Estimate": "uncertainty",
    "Point": "cliff",
    "Results": "results",
    "ResultsError": "jsonio",
    "StudyConfig": "results",
    "Summary": "summary",
    "estimate": "uncertainty",
    "find_cliff": "cliff",
    "load_results": "results",
    "pareto": "frontier",
    "parse_results": "results",
    "summarise": "summary",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"clifftop.analysis.{_HOMES[name]}"), name)


__all__ = [
    "BestClipNorm",
    "BestLr",
    "Cliff",
    "ClippingCost",
    "Configuration",
    "Epsilon",
    "Estimate",
    "Point",
    "Results",
    "ResultsError",
    "StudyConfig",
    "Summary",
    "estimate",
    "find_cliff",
    "load_results",
    "pareto",
    "parse_results",
    "summarise",
]
