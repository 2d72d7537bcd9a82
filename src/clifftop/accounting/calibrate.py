"""The least noise for a target: a bracketed search on certified upper bounds."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

from clifftop.accounting.base import require_delta
from clifftop.accounting.combined import epsilon
from clifftop.events import DpEvent, NeighboringRelation

MAX_EVALUATIONS = 100
STRIDE = math.log(3.0)
"""Step of ln(noise multiplier) while no bracket is known."""


def calibrate_noise_multiplier(
    make_event: Callable[[float], DpEvent],
    *,
    target_epsilon: float,
    target_delta: float,
    neighboring_relation: NeighboringRelation,
    smallest: float = 1e-2,
    largest: float = 1e6,
    tolerance: float = 1e-6,
) -> float:
    """The noise multiplier at which ``make_event`` just meets the target, to a relative ``tolerance``.

    The certified upper bound at the result is at most ``target_epsilon``: only a noise multiplier that was
    checked is returned. More noise must not cost more privacy; then the result is within ``tolerance`` of
    where the upper bound meets the target. If even ``smallest`` meets it, that is the result.

    Args:
        make_event: the event that a noise multiplier gives.
        target_epsilon: positive.
        target_delta: in (0, 1).
        neighboring_relation: the relation that the target speaks of.
        smallest: least noise multiplier to consider.
        largest: greatest noise multiplier to consider.
        tolerance: relative, of the result.

    Errors: ValueError for bad input, or if ``largest`` does not meet the target; `UnsupportedEvent`.

    >>> from clifftop.events import FixedOrder, Gaussian
    >>> sigma = calibrate_noise_multiplier(
    ...     lambda sigma: FixedOrder(Gaussian(sigma), participations=20),
    ...     target_epsilon=8.0,
    ...     target_delta=1e-5,
    ...     neighboring_relation=NeighboringRelation.ZERO_OUT,
    ... )
    >>> f"{sigma:.4f}"
    '2.6843'
    """
    _require_positive("target_epsilon", target_epsilon)
    _require_positive("smallest", smallest)
    _require_positive("largest", largest)
    _require_positive("tolerance", tolerance)
    require_delta(target_delta)

    def excess(log_sigma: float) -> float:
        """``ln(upper / target)``: falls as noise grows, and is at most 0 where the target is met."""
        event = make_event(math.exp(log_sigma))
        upper = epsilon(event, delta=target_delta, neighboring_relation=neighboring_relation).upper
        return math.log(upper / target_epsilon) if upper > 0 else -math.inf

    floor, ceiling = math.log(smallest), math.log(largest)
    point = min(max(0.0, floor), ceiling)
    value = excess(point)
    outward = STRIDE if value > 0 else -STRIDE
    while True:
        last, at_last = point, value
        point = min(max(point + outward, floor), ceiling)
        value = excess(point) if point != last else at_last
        if (value > 0) != (at_last > 0):
            left, right = sorted([(last, at_last), (point, value)])
            return math.exp(_search(excess, left, right, tolerance))
        if point == floor and value <= 0:
            return math.exp(floor)
        if point == ceiling and value > 0:
            raise ValueError(
                f"target_epsilon must be reachable, found target_epsilon={target_epsilon} but epsilon="
                f"{target_epsilon * math.exp(value):.6g} at noise_multiplier={largest}; "
                "raise target_epsilon or largest, or release less"
            )


def _search(
    excess: Callable[[float], float], left: tuple[float, float], right: tuple[float, float], tolerance: float
) -> float:
    """Where ``excess`` falls to 0 between two points with their values, from the right.

    Returns the last point at which it was found to be at most 0, within ``tolerance`` of one at which it
    is above. Regula falsi with halving (Illinois), aimed a little right of the root so that both ends
    close in; bisection while an end is infinite.
    """
    (low, at_low), (high, at_high) = left, right
    met_before = False
    for count in range(MAX_EVALUATIONS):
        width = high - low
        if width <= tolerance:
            break
        guess = 0.5 * (low + high)
        if math.isfinite(at_low) and math.isfinite(at_high):
            aimed = low + width * at_low / (at_low - at_high) + 0.4 * tolerance
            guess = min(max(aimed, low + 0.4 * tolerance), high - 0.4 * tolerance)
        value = excess(guess)
        met = value <= 0
        if met:
            high, at_high = guess, value
        else:
            low, at_low = guess, value
        if count > 0 and met == met_before:
            at_low, at_high = (0.5 * at_low, at_high) if met else (at_low, 0.5 * at_high)
        met_before = met
    return high


def _require_positive(name: str, value: float) -> None:
    if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, found {name}={value!r}; pass a positive one")
