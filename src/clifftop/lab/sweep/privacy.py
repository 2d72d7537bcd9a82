"""What a sweep asks of the accountant: the noise for an epsilon, and the epsilon of a run."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache
from typing import TYPE_CHECKING

from clifftop import accounting
from clifftop.accounting import Bound
from clifftop.events import DpEvent, NeighboringRelation

if TYPE_CHECKING:
    from clifftop.plan import PrivacyPlan

_ROUNDED_UP = Context(prec=8, rounding=ROUND_CEILING)


@cache
def noise_for(
    plan: PrivacyPlan, *, target_epsilon: float, delta: float, steps: int, num_examples: int
) -> float:
    """The least noise multiplier, rounded up to eight digits, whose certified epsilon is at most the target.

    Eight digits are the same on machines whose last bits differ, and so are the runs' ids.

    Raises:
        Unreachable: no noise meets the target.
    """
    from clifftop.noise import Gaussian

    relation = plan.neighboring_relation
    calibrated = plan.calibrate(
        lambda make_event: accounting.calibrate_noise_multiplier(
            make_event, target_epsilon=target_epsilon, target_delta=delta, neighboring_relation=relation
        ),
        steps=steps,
        num_examples=num_examples,
    )
    assert isinstance(calibrated.noise, Gaussian)
    sigma = _ROUNDED_UP.create_decimal(Decimal(calibrated.noise.noise_multiplier))

    def epsilon(sigma: Decimal) -> float:
        noisy = replace(plan, noise=Gaussian(noise_multiplier=float(sigma)))
        event = noisy.event(steps=steps, num_examples=num_examples)
        return epsilon_of(event, delta=delta, neighboring_relation=relation).upper

    while epsilon(sigma) > target_epsilon:  # the bound may waver where the truth does not
        sigma = sigma.next_plus(_ROUNDED_UP)
    return float(sigma)


@cache
def epsilon_of(event: DpEvent, *, delta: float, neighboring_relation: NeighboringRelation) -> Bound:
    """The epsilon of one run alone."""
    return accounting.epsilon(event, delta=delta, neighboring_relation=neighboring_relation)
