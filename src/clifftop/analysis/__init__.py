"""From a results folder to its summary: means with intervals, the cliff, the frontier, the learning rate.

Names are loaded when first used: writing JSON needs no polars, and nothing here needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import Cliff, Point, find_cliff
    from clifftop.analysis.configurations import Configuration
    from clifftop.analysis.frontier import pareto
    from clifftop.analysis.jsonio import ResultsError
    from clifftop.analysis.learning_rate import BestClipNorm, BestLr, ClippingCost
    from clifftop.analysis.results import Epsilon, Results, StudyConfig, load_results, parse_results
    from clifftop.analysis.summary import Summary, summarise
    from clifftop.analysis.uncertainty import Estimate, estimate

__getattr__ = names_from(
    __name__,
    {
        "BestClipNorm": "learning_rate",
        "BestLr": "learning_rate",
        "Cliff": "cliffs",
        "ClippingCost": "learning_rate",
        "Configuration": "configurations",
        "Epsilon": "results",
        "Estimate": "uncertainty",
        "Point": "cliffs",
        "Results": "results",
        "ResultsError": "jsonio",
        "StudyConfig": "results",
        "Summary": "summary",
        "estimate": "uncertainty",
        "find_cliff": "cliffs",
        "load_results": "results",
        "pareto": "frontier",
        "parse_results": "results",
        "summarise": "summary",
    },
)

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
