"""What privacy costs at each level, and what more of it would buy."""

from __future__ import annotations

from collections.abc import Iterator

from clifftop.analysis.evidence import Evidence
from clifftop.analysis.frontier import Frontier, Marginal
from clifftop.analysis.inference import Claim
from clifftop.report.conclusions.base import Conclusion, Kind
from clifftop.report.conclusions.drafts import Draft, above, corrected
from clifftop.report.conclusions.words import amount, reached, where
from clifftop.report.wording import epsilon_up

MOST_STEPS = 8


def frontier_drafts(evidence: Evidence, frontier: Frontier | None) -> Iterator[Draft]:
    """Drafts about the levels that the sweep measured."""
    if frontier is None or not frontier.points:
        return
    levels = sorted({point.epsilon for point in frontier.points})
    ends = dict.fromkeys((levels[0], levels[-1]))
    for level in ends:
        yield from _level(evidence, frontier, level)
    yield from _steps(evidence, frontier)


def _level(evidence: Evidence, frontier: Frontier, epsilon: float) -> Iterator[Draft]:
    optimum, cost = frontier.optimum(epsilon), frontier.cost_at(epsilon)
    if optimum is None:
        return
    cell = evidence.cells[optimum.cell]
    utility = optimum.held_out or optimum.utility
    name = epsilon_up(epsilon, digits=4)
    what = f"The best setting ({where(cell, evidence.axes)}) reaches {reached(evidence, utility)}"
    if optimum.candidates > 1:
        chosen = "chosen on the other seeds" if optimum.held_out else "optimistic: the best of"
        what += f", {chosen}" + ("" if optimum.held_out else f" {optimum.candidates:,}")
    if cost is None:
        yield Draft(
            conclusion=Conclusion(
                title=f"Up to epsilon {name}", text=f"{what}.", kind=Kind.MEASURE, cells=(optimum.cell,)
            )
        )
        return
    text = f"{what}. Training without privacy does better by {amount(evidence, cost)}."
    costs = above("privacy costs", (epsilon,), cost)
    measured = Conclusion(title=f"Up to epsilon {name}", text=text, kind=Kind.MEASURE, cells=(optimum.cell,))
    yield (
        Draft(
            conclusion=Conclusion(
                title=f"Up to epsilon {name} privacy costs {amount(evidence, cost, interval=False)}",
                text=text,
                kind=Kind.CLAIM,
                cells=(optimum.cell,),
            ),
            claims=() if costs is None else (costs,),
            otherwise=measured,
        )
        if costs is not None
        else Draft(conclusion=measured)
    )


def _steps(evidence: Evidence, frontier: Frontier) -> Iterator[Draft]:
    """The first doubling of the budget that pays, and the last measured one."""
    steps = frontier.marginal[:MOST_STEPS]
    if not steps:
        return
    most = max(steps, key=lambda step: step.per_doubling.mean)
    claim = Claim(
        kind="budget buys",
        subject=(most.epsilon_low, most.epsilon_high),
        estimate=most.gain,
        p_value=most.p_value,
    )
    yield Draft(
        conclusion=Conclusion(
            title=f"Budget pays most from epsilon {_up(most.epsilon_low)} to {_up(most.epsilon_high)}",
            text=f"It buys {amount(evidence, most.gain)}{_last(evidence, steps)}.",
            kind=Kind.CLAIM,
            cells=(most.cell_low, most.cell_high),
        ),
        # It was picked as the largest of several steps: each of them is a claim that could have been made.
        claims=(corrected(claim, len(steps)),),
    )


def _last(evidence: Evidence, steps: tuple[Marginal, ...]) -> str:
    last = steps[-1]
    ends = f"{_up(last.epsilon_low)} to {_up(last.epsilon_high)}"
    return f"; from {ends} the gain is {amount(evidence, last.gain)}"


def _up(epsilon: float) -> str:
    return epsilon_up(epsilon, digits=3)
