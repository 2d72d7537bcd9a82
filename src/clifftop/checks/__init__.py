"""Can this model be trained privately at all? Looked at once, before the first step."""

from clifftop.checks.ownership import recheck
from clifftop.checks.report import Finding, NotPrivate, ParameterRow, Report, Status
from clifftop.checks.run import Checks, FirstExamples, NoChecks, check

__all__ = [
    "Checks",
    "Finding",
    "FirstExamples",
    "NoChecks",
    "NotPrivate",
    "ParameterRow",
    "Report",
    "Status",
    "check",
    "recheck",
]
