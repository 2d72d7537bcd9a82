"""The value that every estimator returns."""

import dataclasses

import pytest

from clifftop.audit.estimators import Counts, LowerBound

FIELDS = {"epsilon": 1.5, "delta": 1e-5, "confidence": 0.95, "assumptions": ("one",), "detection_limit": 3.0}


def test_says_what_was_shown():
    bound = LowerBound(**FIELDS)
    assert bound.detected
    assert str(bound) == ("epsilon >= 1.5 at delta=1e-05, confidence 0.95 (at most 3 could have been shown)")


def test_never_says_zero():
    assert "below the detection limit" in str(LowerBound(**FIELDS | {"epsilon": 0.0}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": -0.1},
        {"epsilon": 3.1},
        {"epsilon": float("nan")},
        {"confidence": 1.0},
        {"delta": -1e-9},
    ],
)
def test_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match="must"):
        LowerBound(**FIELDS | wrong)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LowerBound(**FIELDS).epsilon = 2.0


def test_swapping_and_inverting_twice_changes_nothing():
    counts = Counts(true_positives=7, present=10, false_positives=2, absent=20)
    assert counts.swapped().swapped() == counts
    assert counts.inverted().inverted() == counts
    assert counts.inverted() == Counts(true_positives=3, present=10, false_positives=18, absent=20)


def test_refuses_more_hits_than_runs():
    with pytest.raises(ValueError, match="false_positives=3 absent=2"):
        Counts(true_positives=0, present=1, false_positives=3, absent=2)
