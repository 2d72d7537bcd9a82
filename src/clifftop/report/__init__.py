"""The report of a results folder: conclusions, charts, one offline page, and the check of them all.

Names are loaded when first used: a table on the terminal needs no plotting library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.report.build import build_report
    from clifftop.report.terminal import learning_rate_table, summary_table
    from clifftop.report.validation import Failure, validate

__getattr__ = names_from(
    __name__,
    {
        "Failure": "validation",
        "build_report": "build",
        "learning_rate_table": "terminal",
        "summary_table": "terminal",
        "validate": "validation",
    },
)

__all__ = [
    "Failure",
    "build_report",
    "learning_rate_table",
    "summary_table",
    "validate",
]
