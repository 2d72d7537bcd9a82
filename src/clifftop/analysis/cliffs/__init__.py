"""Cliffs: as the published study defines them, and by a test against smooth frontiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.analysis.cliffs.published import COLLAPSE_FRACTION, SAFE_FRACTION, Cliff, Point, find_cliff
from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.analysis.cliffs.detect import CliffTest, SteepestDrop, Verdict, detect_cliff
    from clifftop.analysis.cliffs.rules import cliffs_by_rule

__getattr__ = names_from(
    __name__,
    {
        "CliffTest": "detect",
        "SteepestDrop": "detect",
        "Verdict": "detect",
        "cliffs_by_rule": "rules",
        "detect_cliff": "detect",
    },
)

__all__ = [
    "COLLAPSE_FRACTION",
    "SAFE_FRACTION",
    "Cliff",
    "CliffTest",
    "Point",
    "SteepestDrop",
    "Verdict",
    "cliffs_by_rule",
    "detect_cliff",
    "find_cliff",
]
