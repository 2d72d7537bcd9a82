"""Whether utility falls off a cliff."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from clifftop.analysis.evidence import Evidence
from clifftop.analysis.inference import Claim
from clifftop.report.conclusions.base import Conclusion, Kind
from clifftop.report.conclusions.drafts import Draft
from clifftop.report.conclusions.words import amount
from clifftop.report.wording import epsilon_up

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import CliffTest


def cliff_drafts(evidence: Evidence, cliffs: Mapping[str, CliffTest]) -> Iterator[Draft]:
    """A draft for each clipping rule; those of single clip norms are in the table of the page."""
    rules = {name: found for name, found in cliffs.items() if "," not in name}
    for name, found in rules.items():
        drop = found.steepest
        if drop is None:
            continue
        rule = f" with {name} clipping" if len(rules) > 1 else ""
        low, high = epsilon_up(drop.epsilon_low, digits=3), epsilon_up(drop.epsilon_high, digits=3)
        text = (
            f"The steepest fall{rule}, from epsilon {high} down to {low}, is {amount(evidence, drop.drop)}."
        )
        text += f" A cliff would be: {found.definition}."
        cliff = Conclusion(title=f"A cliff near epsilon {low}{rule}", text=text, kind=Kind.CLAIM)
        none = Conclusion(title=f"No cliff{rule}", text=text, kind=Kind.CLAIM)
        is_there = found.p_value <= found.p_none
        claim = Claim(
            kind="a cliff" if is_there else "no cliff",
            subject=(name,),
            estimate=drop.drop,
            p_value=min(1.0, 2 * min(found.p_value, found.p_none)),  # either could have been claimed
        )
        yield Draft(
            conclusion=cliff if is_there else none, claims=(claim,), otherwise=_open(found, text, rule)
        )


def _open(found: CliffTest, text: str, rule: str) -> Conclusion:
    if found.gaps:
        low, high = found.gaps[0]
        gap = f"{epsilon_up(low, digits=3)} and {epsilon_up(high, digits=3)}"
        why = f"Between epsilon {gap} lies no level that could tell: add some."
    else:
        why = "More seeds would tell."
    return Conclusion(
        title=f"Whether there is a cliff{rule} is open", text=f"{text} {why}", kind=Kind.CAUTION
    )
