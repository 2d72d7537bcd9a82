"""What a search and a tuning cost, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clifftop.lab.costs import SearchCost
    from clifftop.lab.tuning.design import Design

_ROUNDED_UP = Context(prec=4, rounding=ROUND_CEILING)


def up(value: float) -> str:
    """Four digits, rounded up.

    >>> up(1.23401), up(12345.6), up(math.inf)
    ('1.235', '12350', 'infinity')
    """
    if math.isinf(value):
        return "infinity"
    return f"{float(_ROUNDED_UP.create_decimal(repr(value))):.6g}"


def cost_sentences(cost: SearchCost) -> Mapping[str, str]:
    """What each number means, and what may be released at it."""
    if cost.is_public:
        said = "The data were declared public: nothing here costs privacy, and everything may be released."
        return {"public": said}
    said = {"single": _single(cost), "composition": _composition(cost), "selection": _selection(cost)}
    said["public"] = (
        "Settings found on public or synthetic data cost nothing, if no private row had a part in making "
        "that data; then one run with these settings costs what one run costs."
    )
    return {name: text for name, text in said.items() if text}


def _single(cost: SearchCost) -> str:
    if not cost.runs:
        return "There is no private run: nothing may be released."
    return (
        f"One run alone costs epsilon <= {up(cost.single.upper)} at delta = {cost.delta:g}, the costliest of "
        f"{_counted(cost.runs, 'private run')}. This is not the cost of the search: it is that of one run "
        "that was chosen before any was trained. Of that run everything may be released, and nothing of the "
        "others, not even which of them was best."
    )


def _composition(cost: SearchCost) -> str:
    if not cost.runs:
        return ""
    left_out = ""
    if cost.baselines:
        left_out = (
            f" {_counted(cost.baselines, 'run')} without privacy not counted: whatever of these is released, "
            "a score as well, has no finite epsilon."
        )
    if cost.why:
        return f"Together the runs may not be released at all: {cost.why}.{left_out}"
    return (
        f"All {_counted(cost.runs, 'private run')} together cost epsilon <= {up(cost.composition.upper)}. At "
        "that price every model, score and curve of them may be released, and any choice among them."
        f"{left_out} This presumes seeds that are secret and were drawn at random: whoever knows the seed of "
        "a run knows its noise."
    )


def _selection(cost: SearchCost) -> str:
    if not cost.selection:
        return ""
    prices = " and ".join(
        f"epsilon <= {up(one.epsilon.upper)} with a {one.law} number of trials" for one in cost.selection
    )
    return (
        f"`clifftop tune` over the same {_counted(cost.settings, 'setting')} would cost {prices} of mean "
        f"{cost.selection[0].mean:g}, and releases the best trial: its model, setting and score. That is the "
        "price of new trials with secret seeds, of which nothing else is looked at; the runs of this search "
        "cannot be released at it."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def tuning_statement(design: Design) -> str:
    """What a tuning releases, at what price, and what that presumes."""
    from clifftop.lab.tuning.laws import law_words

    sweep, price = design.sweep, design.epsilon.upper
    guarantee = (
        "No epsilon is guaranteed"
        if math.isinf(price)
        else "It is (epsilon, delta)-differentially private with "
        f"epsilon = {up(price)} at delta = {sweep.delta:g}"
    )
    relation = design.neighboring_relation.value.replace("_", " ")
    return (
        "The model, its setting and its score are the best of a random number of trials, "
        f"{law_words(design.trials)}, each with a setting drawn anew from the same law, with batches and "
        f"noise of its own. {guarantee} ({relation}), the whole tuning counted; one trial alone would cost "
        f"epsilon = {up(design.one_run.upper)}. Trials were ranked by {sweep.goal.metric} "
        f"{design.score.words}. The guarantee presumes that nothing else becomes known: not how many trials "
        "there were, which running time and use of the machine tell, and nothing of the trials that lost; "
        "that other releases from the same rows are accounted beside it; and that the machine that trained "
        "is trusted."
    )
