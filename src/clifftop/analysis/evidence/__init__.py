"""What a sweep has to say: its cells, each with its seeds, ready for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.analysis.evidence.cells import Arm, Cell, Epsilon, Evidence
from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.analysis.evidence.build import EvidenceError, evidence_of

__getattr__ = names_from(__name__, {"EvidenceError": "build", "evidence_of": "build"})

__all__ = ["Arm", "Cell", "Epsilon", "Evidence", "EvidenceError", "evidence_of"]
