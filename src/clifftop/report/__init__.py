"""The report of a results folder: plots, one offline page, terminal tables, and the check of them all.

Names are loaded when first used: a table on the terminal needs no plotting library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.report.build import build_report
    from clifftop.report.headline import Headline, headlines
    from clifftop.report.terminal import learning_rate_table, summary_table
    from clifftop.report.validation import Failure, validate

__getattr__ = names_from(
    __name__,
    {
        "Failure": "validation",
        "Headline": "headline",
        "build_report": "build",
        "headlines": "headline",
        "learning_rate_table": "terminal",
        "summary_table": "terminal",
        "validate": "validation",
    },
)

__all__ = [
    "Failure",
    "Headline",
    "build_report",
    "headlines",
    "learning_rate_table",
    "summary_table",
    "validate",
]
