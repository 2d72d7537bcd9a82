"""What the page says of its own certainty: the best and what cannot be told from it, seeds, test rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clifftop.analysis.inference import VarianceParts, best_of, seeds_needed, variance_parts
from clifftop.report.drawings.units import Unit, label, unit
from clifftop.report.page.blocks import Block, FactList, Paragraph, Section
from clifftop.report.page.texts import score_entry
from clifftop.report.wording import counted

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Evidence
    from clifftop.analysis.inference import Winner
    from clifftop.report.material import Material
    from clifftop.report.page.drawn import Drawn

_HALF_WIDTHS = (0.01, 0.005, 0.001)
_NO_SEEDS = (
    "Every private cell has one seed. One run says nothing of how another would differ: no interval, no test "
    "and no conclusion about effects can be drawn from it. Train a few seeds of the cells that matter."
)
_FAMILY = (
    "Who looks at many cells finds a good one by luck. Claims on this page are therefore tested together "
    "(Holm), the best cell is compared with all others at once, and what a choice gets is measured on seeds "
    "that had no part in it."
)


def doubt_section(material: Material, drawn: Drawn) -> Section | None:
    """How far the numbers can be trusted."""
    evidence = material.evidence
    if not any(evidence.values(cell).size for cell in evidence.private):
        return None
    blocks: list[Block] = [*drawn.charts("uncertainty", "seeds", "variance")]
    if evidence.num_seeds < 2:
        blocks.insert(0, Paragraph(text=_NO_SEEDS))
    else:
        blocks.insert(0, Paragraph(text=_FAMILY, cites=("holm1979",)))
        blocks.append(FactList(rows=_facts(evidence, best_of(evidence))))
    return Section(name="doubt", title="How sure the numbers are", short="Certainty", blocks=tuple(blocks))


def _facts(evidence: Evidence, winner: Winner) -> tuple[tuple[str, str], ...]:
    shown = unit(evidence)
    best = evidence.cells[winner.best]
    rivals = len(winner.contenders) - 1
    percent = f"{100 * winner.level:g}%"
    rows = [
        ("best private cell", f"{label(best, evidence.axes)}: {score_entry(winner.utility, shown).text}"),
        (
            "cannot be told from it",
            f"{counted(rivals, 'other cell')}, at {percent} over all comparisons together",
        ),
    ]
    if winner.held_out is not None:
        text = f"{score_entry(winner.held_out, shown).text} on seeds that had no part in the choice"
        rows.append(("choosing the best gets", text))
    parts = variance_parts(evidence, best)
    return (*rows, *(_parts(parts, shown) if parts is not None else ()))


def _parts(parts: VarianceParts, shown: Unit) -> tuple[tuple[str, str], ...]:
    """For the best cell, whose score is a share."""
    spread = math.sqrt(parts.total)
    rows = [
        ("spread between its seeds", f"standard deviation {_points(spread, shown)} over {parts.n:,} seeds"),
        (
            "error of the test set",
            (
                f"standard error {_points(math.sqrt(parts.test_set), shown)} with {parts.num_test:,} rows; "
                f"where all seeds share these rows, no number of seeds makes it smaller"
            ),
        ),
    ]
    wanted = ", ".join(
        f"±{_points(half, shown)}: {seeds_needed(spread, half_width=half):,}" for half in _HALF_WIDTHS
    )
    rows.append(("seeds for its mean to within", f"{wanted} (95% interval, as its seeds spread now)"))
    return tuple(rows)


def _points(share: float, shown: Unit) -> str:
    value = f"{shown.factor * share:.2g}"
    return f"{value} {'point' if value == '1' else 'points'}" if shown.share else value
