"""The published study's definitions of collapse, cliff and safe region."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.analysis.cliffs import Point, find_cliff


def points(*pairs):
    return [Point(epsilon=epsilon, accuracy=accuracy) for epsilon, accuracy in pairs]


def test_halfway_between_collapsed_and_retained():
    cliff = find_cliff(points((1, 0.2), (2, 0.44), (6, 0.6), (9, 0.95)), baseline_accuracy=0.9)
    assert (cliff.largest_collapsed_epsilon, cliff.smallest_retained_epsilon) == (2, 6)
    assert cliff.cliff_epsilon == 4
    assert cliff.safe_epsilon == 9
    assert (cliff.collapsed, cliff.retained, cliff.overlapping) == (2, 2, False)


@pytest.mark.parametrize(
    ("accuracy", "collapsed", "safe"),
    [(0.5, 0, False), (0.4999, 1, False), (0.9, 0, True), (0.8999, 0, False)],
)
def test_the_two_thresholds(accuracy, collapsed, safe):
    """Collapsed is strictly below a half; safe is at least nine tenths."""
    cliff = find_cliff(points((3, accuracy)), baseline_accuracy=1.0)
    assert cliff.collapsed == collapsed
    assert (cliff.safe_epsilon is not None) is safe


def test_nothing_collapses():
    cliff = find_cliff(points((1, 0.7), (2, 0.8)), baseline_accuracy=0.9)
    assert cliff.cliff_epsilon is None
    assert cliff.largest_collapsed_epsilon is None
    assert cliff.smallest_retained_epsilon == 1
    assert cliff.safe_epsilon is None


def test_everything_collapses():
    cliff = find_cliff(points((1, 0.1), (2, 0.1)), baseline_accuracy=0.9)
    assert (cliff.cliff_epsilon, cliff.smallest_retained_epsilon, cliff.retained) == (None, None, 0)


def test_collapse_at_an_epsilon_where_others_hold_is_said():
    cliff = find_cliff(points((1, 0.9), (5, 0.1)), baseline_accuracy=0.9)
    assert cliff.overlapping
    assert cliff.cliff_epsilon == 3


def test_no_points():
    assert find_cliff([], baseline_accuracy=0.9).cliff_epsilon is None


def test_an_infinite_epsilon_is_no_error():
    cliff = find_cliff(points((1, 0.1), (math.inf, 0.95)), baseline_accuracy=1.0)
    assert cliff.cliff_epsilon == math.inf


@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1)), max_size=12),
    st.floats(0.1, 1),
)
@settings(derandomize=True, max_examples=80)
def test_every_number_comes_from_its_definition(pairs, baseline):
    cliff = find_cliff(points(*pairs), baseline_accuracy=baseline)
    collapsed = [epsilon for epsilon, accuracy in pairs if accuracy < 0.5 * baseline]
    retained = [epsilon for epsilon, accuracy in pairs if not accuracy < 0.5 * baseline]
    safe = [epsilon for epsilon, accuracy in pairs if accuracy >= 0.9 * baseline]
    assert cliff.collapsed + cliff.retained == len(pairs)
    assert cliff.largest_collapsed_epsilon == (max(collapsed) if collapsed else None)
    assert cliff.smallest_retained_epsilon == (min(retained) if retained else None)
    assert cliff.safe_epsilon == (min(safe) if safe else None)
    assert (cliff.cliff_epsilon is None) == (not collapsed or not retained)
