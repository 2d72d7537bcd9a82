"""Calibration: checked, never above the target, near the least noise."""

import math
from collections.abc import Callable

import pytest

from clifftop.accounting import UnsupportedEvent, calibrate_noise_multiplier, epsilon
from clifftop.events import (
    Composed,
    DpEvent,
    FixedOrder,
    Gaussian,
    NeighboringRelation,
    NoOp,
    PoissonSampled,
    SelfComposed,
)

ADD_OR_REMOVE, REPLACE, ZERO_OUT = (
    NeighboringRelation.ADD_OR_REMOVE_ONE,
    NeighboringRelation.REPLACE_ONE,
    NeighboringRelation.ZERO_OUT,
)


def poisson(q: float, count: int) -> Callable[[float], DpEvent]:
    return lambda sigma: SelfComposed(PoissonSampled(q, Gaussian(sigma)), count)


@pytest.mark.parametrize(
    ("q", "count", "target", "least"),
    [
        # An independent saddle-point prototype of this project's research, 7 digits, delta 1e-5.
        (0.16, 140, 1.0, 7.213588), (0.16, 140, 8.0, 1.382576), (0.01, 10_000, 3.0, 1.564966),
        (0.001, 100_000, 1.0, 1.364771),
    ],
)  # fmt: skip
def test_noise_is_the_least_that_meets_the_target(q: float, count: int, target: float, least: float) -> None:
    make_event = poisson(q, count)
    sigma = calibrate_noise_multiplier(
        make_event, target_epsilon=target, target_delta=1e-5, neighboring_relation=ADD_OR_REMOVE
    )
    assert least * (1 - 1e-6) <= sigma <= least * (1 + 5e-5)
    assert epsilon(make_event(sigma), delta=1e-5, neighboring_relation=ADD_OR_REMOVE).upper <= target


@pytest.mark.parametrize("relation", [ZERO_OUT, REPLACE])
@pytest.mark.parametrize("target", [1e-3, 0.1, 8.0, 500.0])
def test_exact_composition_is_met_to_the_tolerance(relation: NeighboringRelation, target: float) -> None:
    def make_event(sigma: float) -> DpEvent:
        return FixedOrder(Gaussian(sigma), participations=20)

    sigma = calibrate_noise_multiplier(
        make_event, target_epsilon=target, target_delta=1e-6, neighboring_relation=relation, tolerance=1e-9
    )
    at = epsilon(make_event(sigma), delta=1e-6, neighboring_relation=relation).upper
    below = epsilon(make_event(sigma * (1 - 2e-9)), delta=1e-6, neighboring_relation=relation).upper
    assert at <= target < below


def test_a_budget_already_spent_is_counted() -> None:
    spent = SelfComposed(PoissonSampled(0.02, Gaussian(1.0)), 500)
    alone = calibrate_noise_multiplier(
        poisson(0.02, 500),
        target_epsilon=4.0,
        target_delta=1e-6,
        neighboring_relation=ADD_OR_REMOVE,
        tolerance=1e-4,
    )
    after = calibrate_noise_multiplier(
        lambda sigma: Composed((spent, poisson(0.02, 500)(sigma))),
        target_epsilon=4.0,
        target_delta=1e-6,
        neighboring_relation=ADD_OR_REMOVE,
        tolerance=1e-4,
    )
    assert after > 1.05 * alone


def test_what_costs_nothing_needs_the_least_noise() -> None:
    sigma = calibrate_noise_multiplier(
        lambda _: NoOp(), target_epsilon=1.0, target_delta=1e-5, neighboring_relation=ZERO_OUT, smallest=0.25
    )
    assert sigma == pytest.approx(0.25, rel=1e-15)


def test_an_unreachable_target_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"target_epsilon=0.001 but epsilon=.* at noise_multiplier=2"
    ) as caught:
        calibrate_noise_multiplier(
            poisson(0.5, 1000),
            target_epsilon=1e-3,
            target_delta=1e-5,
            neighboring_relation=ADD_OR_REMOVE,
            largest=2.0,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["target_epsilon", "smallest", "largest", "tolerance"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "1"])
def test_bad_numbers_are_refused_by_name(name: str, value: object) -> None:
    facts = {"target_epsilon": 1.0} | {name: value}
    with pytest.raises(ValueError, match=f"{name} must be a finite number > 0, found {name}={value!r}"):
        calibrate_noise_multiplier(
            poisson(0.1, 10), target_delta=1e-5, neighboring_relation=ADD_OR_REMOVE, **facts
        )


def test_a_bad_delta_and_an_unknown_event_are_refused() -> None:
    with pytest.raises(ValueError, match="delta must be a number"):
        calibrate_noise_multiplier(
            poisson(0.1, 10), target_epsilon=1.0, target_delta=0.0, neighboring_relation=ADD_OR_REMOVE
        )
    with pytest.raises(UnsupportedEvent, match="use ZERO_OUT"):
        calibrate_noise_multiplier(
            lambda sigma: FixedOrder(Gaussian(sigma), 3),
            target_epsilon=1.0,
            target_delta=1e-5,
            neighboring_relation=ADD_OR_REMOVE,
        )
