"""Tuning whose price is known: a random number of trials, of which only the best is ever seen.

Names are loaded when first used, so that the price of a search needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.lab.tuning.design import Design
    from clifftop.lab.tuning.errors import TuneError
    from clifftop.lab.tuning.release import Released, read_release
    from clifftop.lab.tuning.run import ScoredRows, abandon, plan_tuning, tune

__getattr__ = names_from(
    __name__,
    {
        "Design": "design",
        "Released": "release",
        "ScoredRows": "run",
        "TuneError": "errors",
        "abandon": "run",
        "plan_tuning": "run",
        "read_release": "release",
        "tune": "run",
    },
)

__all__ = [
    "Design",
    "Released",
    "ScoredRows",
    "TuneError",
    "abandon",
    "plan_tuning",
    "read_release",
    "tune",
]
