"""Numbers as text: an epsilon is never rounded down."""

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.report.wording import (
    accuracy_interval,
    epsilon_claimed,
    epsilon_up,
    interval_points,
    percent,
    plain,
    points,
)


@given(st.floats(1e-9, 1e12), st.integers(1, 8))
@settings(derandomize=True, max_examples=300)
def test_an_epsilon_is_rounded_up_and_not_far(value, digits):
    shown = Decimal(epsilon_up(value, digits=digits).replace(",", ""))
    exact = Decimal(repr(value))
    assert shown >= exact
    assert shown <= exact + max(Decimal(1), Decimal(0)) * Decimal(10) ** (exact.adjusted() - digits + 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (77.33, "77.33"),
        (28.37350001, "28.3736"),
        (0.694, "0.694"),
        (0.0, "0"),
        (999999.5, "1,000,000"),
        (1234567.8, "1,234,570"),
        (math.inf, "∞"),
    ],
)
def test_epsilons(value, text):
    assert epsilon_up(value) == text


def test_claims_are_shown_as_published():
    claims = [22446.05170185988, 4.797420839806621, 0.8722798434676159, 0.0012, math.inf, None]
    assert [epsilon_claimed(value) for value in claims] == ["22,446.05", "4.80", "0.87", "0.0012", "∞", "–"]


def test_other_numbers():
    assert [plain(value) for value in (0.01, 1.0, 10.0, 1e-5, 100000.0, math.inf, -math.inf, math.nan)] == [
        "0.01",
        "1",
        "10",
        "1e-5",
        "100000",
        "∞",
        "−∞",
        "nan",
    ]
    assert (percent(0.9933333), percent(-0.05), points(-1e-9), points(0.187)) == (
        "99.3%",
        "−5.0%",
        "0.0",
        "18.7",
    )


def test_intervals():
    assert accuracy_interval((-0.1, 1.2)) == (0.0, 1.0)
    assert accuracy_interval(None) is None
    assert interval_points((-0.02, 0.394)) == "−2.0 to 39.4"
    assert interval_points((0.9761, 0.9764)) == "97.61 to 97.64"
