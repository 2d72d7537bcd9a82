"""The Pareto set, against its definition."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.analysis.frontier import pareto


def dominated(item, items):
    return any(
        other[0] <= item[0] and other[1] >= item[1] and (other[0] < item[0] or other[1] > item[1])
        for other in items
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=15))
@settings(derandomize=True, max_examples=200)
def test_keeps_exactly_what_nothing_dominates(items):
    found = pareto(items, epsilon=lambda item: item[0], accuracy=lambda item: item[1])
    assert sorted(found) == sorted(item for item in items if not dominated(item, items))
    assert list(found) == sorted(found)


def test_published_frontier(published):
    assert [(item.noise_multiplier, item.clip_norm) for item in published.frontier] == [
        (10.0, 1.0),
        (5.0, 1.0),
        (1.0, 1.0),
        (0.1, 1.0),
    ]
