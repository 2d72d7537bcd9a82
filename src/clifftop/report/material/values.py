"""All that a report shows, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from clifftop.analysis.evidence import Evidence

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import CliffTest
    from clifftop.analysis.decomposition import Decomposition
    from clifftop.analysis.frontier import Frontier
    from clifftop.analysis.results import EpsilonRow
    from clifftop.audit.document import AuditDocument
    from clifftop.lab.facts import Facts
    from clifftop.lab.reading.curves import Curves
    from clifftop.report.card import Card
    from clifftop.report.conclusions import Conclusion
    from clifftop.report.material.source import Source


@final
@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a report shows.

    Attributes:
        source: the folder, read.
        evidence: its finished runs.
        frontier: the best utility at each epsilon; None without a private cell.
        decomposition: utility lost, by cause; None without runs to compare with.
        curves: how runs went over training; None where no store says.
        cliffs: by clipping rule, whether utility falls off a cliff.
        conclusions: sentences, most important first.
        card: the privacy card; None where none can be made.
        audits: audits that the folder keeps.
    """

    source: Source
    evidence: Evidence
    frontier: Frontier | None
    decomposition: Decomposition | None
    curves: Curves | None
    cliffs: Mapping[str, CliffTest]
    conclusions: tuple[Conclusion, ...]
    card: Card | None
    audits: tuple[AuditDocument, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the runs lie."""
        return self.source.folder

    @property
    def title(self) -> str:
        """One line for people."""
        return self.source.title

    @property
    def facts(self) -> Facts | None:
        """How the runs were made, where it is known."""
        return self.source.facts

    @property
    def cost(self) -> Mapping[str, Any] | None:
        """What the search cost, as `SearchCost.to_json` wrote it."""
        return self.source.cost

    @property
    def published(self) -> tuple[EpsilonRow, ...] | None:
        """Epsilons once published beside the true ones, by rising noise; None for a sweep."""
        return self.source.epsilons or None

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader must know, a sentence each."""
        return self.source.caveats

    @property
    def training_seconds(self) -> float | None:
        """Of all workers."""
        return self.source.training_seconds
