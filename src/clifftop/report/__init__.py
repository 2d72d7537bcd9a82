"""The report of a results folder: plots, one offline page, terminal tables, and the check of them all.

Names are loaded when first used: a table on the terminal needs no plotting library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clifftop.report.build import build_report
    from clifftop.report.headlines import Headline, headlines
    from clifftop.report.terminal import learning_rate_table, summary_table
    from clifftop.report.validate import Failure, validate

_HOMES = {
    "Failure": "validate",
    "Headline": "headlines",
    "build_report": "build",
    "headlines": "headlines",
    "learning_rate_table": "terminal",
    "summary_table": "terminal",
    "validate": "validate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"clifftop.report.{_HOMES[name]}"), name)


__all__ = [
    "Failure",
    "Headline",
    "build_report",
    "headlines",
    "learning_rate_table",
    "summary_table",
    "validate",
]
