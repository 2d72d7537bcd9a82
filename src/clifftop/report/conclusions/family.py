"""All that a report concludes, judged as one family of claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.analysis.evidence import Evidence
from clifftop.report.conclusions.answer import answer_drafts
from clifftop.report.conclusions.base import Conclusion
from clifftop.report.conclusions.cliff import cliff_drafts
from clifftop.report.conclusions.drafts import decided
from clifftop.report.conclusions.facts import diverged_drafts, published_drafts, search_drafts, seed_drafts
from clifftop.report.conclusions.frontier import frontier_drafts

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import CliffTest
    from clifftop.analysis.decomposition import Decomposition
    from clifftop.analysis.frontier import Frontier
    from clifftop.analysis.results import EpsilonRow


def conclude(
    evidence: Evidence,
    *,
    frontier: Frontier | None,
    decomposition: Decomposition | None,
    cliffs: Mapping[str, CliffTest],
    epsilons: Sequence[EpsilonRow] = (),
    cost: Mapping[str, Any] | None = None,
    reference_lr: float | None = None,
) -> tuple[Conclusion, ...]:
    """The conclusions, most important first.

    Every effect that is claimed was tested, and all claims of one report are judged together: where there
    is no effect at all, at most one report in twenty claims one.

    Args:
        evidence: of a sweep.
        frontier: its frontier.
        decomposition: of its utility loss.
        cliffs: by clipping rule.
        epsilons: a study's published and true epsilons.
        cost: of the search, as JSON.
        reference_lr: see `answer_drafts`.
    """
    return decided(
        [
            *answer_drafts(evidence, decomposition, reference_lr=reference_lr),
            *published_drafts(evidence, epsilons),
            *frontier_drafts(evidence, frontier),
            *cliff_drafts(evidence, cliffs),
            *search_drafts(cost),
            *seed_drafts(evidence),
            *diverged_drafts(evidence),
        ]
    )
