"""What needs no statistics: epsilons, counts, and what the runs cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.analysis.evidence import Evidence
from clifftop.analysis.inference import seeds_needed
from clifftop.report.conclusions.base import Conclusion, Kind
from clifftop.report.conclusions.drafts import Draft
from clifftop.report.conclusions.words import is_share, where
from clifftop.report.wording import counted, epsilon_claimed, epsilon_up

if TYPE_CHECKING:
    from clifftop.analysis.results import EpsilonRow

_PRECISION = 0.01


def published_drafts(evidence: Evidence, epsilons: Sequence[EpsilonRow]) -> Iterator[Draft]:
    """Published epsilons beside the true ones of the same runs."""
    true = {cell.number("noise_multiplier"): cell.epsilon for cell in evidence.private if cell.epsilon}
    both = [
        (bound.upper / row.published, row, bound.upper)
        for row in epsilons
        if row.published and (bound := true.get(row.noise_multiplier)) and math.isfinite(bound.upper)
    ]
    if not both:
        return
    ratios = sorted(both, key=lambda item: item[0])
    (low, _, _), (high, row, upper) = ratios[0], ratios[-1]
    understated = "understate the loss" if low >= 1 else "are not true"
    yield Draft(
        conclusion=Conclusion(
            title=f"The published epsilons {understated}",
            text=f"The true ones are {low:.1f} to {high:.1f} times as large. At σ\N{NO-BREAK SPACE}= "
            f"{row.noise_multiplier:g}, {epsilon_claimed(row.published)} was published and "
            f"{epsilon_up(upper)} is true of these runs.",
            kind=Kind.FACT,
        )
    )


def search_drafts(cost: Mapping[str, Any] | None) -> Iterator[Draft]:
    """That the epsilon of one run is not the cost of the search."""
    if cost is None or cost.get("is_public") or cost.get("runs", 0) < 2:
        return
    single, together = (float(cost[part]["epsilon_upper"]) for part in ("single", "composition"))
    released = (
        f"All of them released cost {epsilon_up(together, digits=4)}"
        if math.isfinite(together)
        else "They share noise, so that two of them released together protect nothing"
    )
    yield Draft(
        conclusion=Conclusion(
            title="The epsilon of a run is not the cost of the search",
            text=f"The costliest of {cost['runs']:,} private runs alone has epsilon "
            f"{epsilon_up(single, digits=4)}; which one to keep was looked at on the same data. {released}. "
            "`clifftop tune` makes the choice at a price that is known beforehand.",
            kind=Kind.CAUTION,
        )
    )


def seed_drafts(evidence: Evidence) -> Iterator[Draft]:
    """How wide intervals are, and how many seeds would make them a point."""
    sizes = [(evidence.utilities(cell), cell) for cell in evidence.private]
    several = [(values, cell) for values, cell in sizes if values.size > 1]
    if not several:
        if sizes:
            yield Draft(
                conclusion=Conclusion(
                    title="One seed a setting",
                    text="There are no intervals over seeds: differences between settings may be luck.",
                    kind=Kind.CAUTION,
                )
            )
        return
    values, cell = max(several, key=lambda item: float(item[0].std(ddof=1)))
    sd = float(values.std(ddof=1))
    if not is_share(evidence) or sd == 0:
        return
    needed = seeds_needed(sd, half_width=_PRECISION)
    if needed <= values.size:
        return
    yield Draft(
        conclusion=Conclusion(
            title=f"{counted(values.size, 'seed')}",
            text=f"Scores spread most at {where(cell, evidence.axes)}, by {100 * sd:.1f} points from seed to "
            f"seed: an interval of one point either side would take some {needed:,} seeds there. Comparisons "
            "on the same seeds take fewer.",
            kind=Kind.CAUTION,
            cells=(cell.index,),
        )
    )


def diverged_drafts(evidence: Evidence) -> Iterator[Draft]:
    """How many runs diverged."""
    lost = sum(int(cell.diverged.sum()) for cell in evidence.cells)
    private = sum(int(cell.diverged.sum()) for cell in evidence.private)
    if lost:
        yield Draft(
            conclusion=Conclusion(
                title=f"{counted(lost, 'run')} diverged, {private:,} of them private",
                text="They are results, and count with what they measured; without a finite score they are "
                "left out of the means.",
                kind=Kind.CAUTION,
            )
        )
