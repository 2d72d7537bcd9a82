"""How many steps a run takes: counted, in epochs, or as many as a privacy target affords."""

from __future__ import annotations

import math
from typing import final

from clifftop.accounting import Target, Unreachable, WholeParameter, calibrate
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder, Poisson

MOST_STEPS = 10**9


def steps_in_epochs(plan: PrivacyPlan, *, epochs: float, num_examples: int) -> int:
    """The least number of steps that make ``epochs`` passes over the data, in expectation.

    Steps are rounded up, save for what the sampling probability, a float, is off by (1e-6 of a step).

    Raises:
        ValueError: ``epochs`` is not a finite number >= 0, or the sampler has no notion of an epoch.
    """
    if not 0 <= epochs < math.inf:
        raise ValueError(f"epochs must be a finite number >= 0, found epochs={epochs}")
    match plan.sampler:
        case Poisson(sampling_prob=q):
            return math.ceil(round(epochs / q, 6))
        case FixedOrder() as order:
            return math.ceil(round(epochs * order.steps_per_epoch(num_examples), 6))
        case sampler:
            raise ValueError(
                f"epochs must be those of Poisson or FixedOrder, found sampler={type(sampler).__name__}; "
                "pass steps"
            )


def affordable_steps(plan: PrivacyPlan, target: Target, *, num_examples: int, most: int = MOST_STEPS) -> int:
    """The greatest number of steps, at most ``most``, at which the plan meets ``target``; 0 if none does.

    A function of public numbers alone, so a run that ends there ends at a moment fixed in advance.

    Raises:
        ValueError: the target is for another neighbouring relation than the plan.
    """
    relation = getattr(target, "neighboring_relation", plan.neighboring_relation)
    if relation is not plan.neighboring_relation:
        raise ValueError(
            f"the target must have the plan's neighboring_relation={plan.neighboring_relation.name}, found "
            f"{relation.name}; make both the same"
        )
    if most < 1:
        return 0
    over = WholeParameter(
        name="steps", smallest=1, largest=most, start=min(1000, most), more_costs_less=False
    )
    try:
        return calibrate(
            lambda steps: plan.event(steps=steps, num_examples=num_examples), over=over, target=target
        )
    except Unreachable:
        return 0


def steps_to_go(
    plan: PrivacyPlan,
    *,
    num_examples: int,
    steps_done: int,
    steps: int | None,
    epochs: float | None,
    until: Target | None,
) -> int:
    """How many more steps: as many as asked for, cut off before the first that ``until`` does not afford.

    Raises:
        ValueError: nothing says when to end, both ``steps`` and ``epochs`` do, or not even the first step
            meets ``until``.
    """
    if (steps is None and epochs is None and until is None) or (steps is not None and epochs is not None):
        raise ValueError(
            f"fit must be told when to end, once, found steps={steps} epochs={epochs} until={until}; "
            "pass steps or epochs, until, or one of each"
        )
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 0):
        raise ValueError(f"steps must be a whole number >= 0, found steps={steps!r}")
    wanted = steps
    if epochs is not None:
        wanted = steps_in_epochs(plan, epochs=epochs, num_examples=num_examples)
    if until is None:
        assert wanted is not None
        return wanted
    most = MOST_STEPS if wanted is None else steps_done + wanted
    afforded = affordable_steps(plan, until, num_examples=num_examples, most=most)
    if most and not afforded:
        raise ValueError(
            f"until must afford at least one step, found {until.quantity} > {until.limit:g} after one step "
            "of this plan; raise the noise multiplier, or the target"
        )
    return max(0, afforded - steps_done)


@final
class Every:
    """Which steps of a run something is due at: all multiples of a period, or none.

    Counted from the run's first step, so that a resumed run does it where an uninterrupted one would.

    Raises:
        ValueError: the period is not a whole number >= 1.

    >>> [step for step in range(1, 10) if Every(4, "checkpoint_every").due(step)]
    [4, 8]
    """

    def __init__(self, period: int | None, name: str) -> None:
        """See the class."""
        if period is not None and (isinstance(period, bool) or not isinstance(period, int) or period < 1):
            raise ValueError(f"{name} must be None or a whole number >= 1, found {name}={period!r}")
        self._period = period

    def due(self, steps_done: int) -> bool:
        """Whether it is."""
        return self._period is not None and steps_done % self._period == 0
