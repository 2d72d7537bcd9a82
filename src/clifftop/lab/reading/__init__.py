"""Reading a results folder back: tables, filters, single runs, the best at each epsilon. No torch.

Names are loaded when first used: polars is needed for the tables only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.lab.reading.folders import frontier, open_runs
    from clifftop.lab.reading.one_run import RunRecord, find_run
    from clifftop.lab.reading.scoreboard import Best, Scoreboard
    from clifftop.lab.reading.where import ConditionError, condition

__getattr__ = names_from(
    __name__,
    {
        "Best": "scoreboard",
        "ConditionError": "where",
        "RunRecord": "one_run",
        "Scoreboard": "scoreboard",
        "condition": "where",
        "find_run": "one_run",
        "frontier": "folders",
        "open_runs": "folders",
    },
)

__all__ = [
    "Best",
    "ConditionError",
    "RunRecord",
    "Scoreboard",
    "condition",
    "find_run",
    "frontier",
    "open_runs",
]
