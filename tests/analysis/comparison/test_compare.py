"""Two sweeps at matched epsilon: what is matched, what is refused, and how often a verdict is false."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clifftop.analysis.comparison import ComparisonError, Matching, Verdict, compare
from clifftop.analysis.evidence import Arm, Cell, Epsilon
from clifftop.testing.frontiers import crossed, level, logistic, simulated_evidence

NAMES = ("flat", "automatic")


def side(seed, *, lrs=3, frontier=None, epsilons=(1.0, 4.0), seeds=6, **options):
    cells = crossed({"lr": tuple(0.1 * (i + 1) for i in range(lrs))})
    rng = np.random.default_rng(seed)
    return simulated_evidence(
        rng=rng, frontier=frontier, epsilons=epsilons, cells=cells, seeds=seeds, **options
    )


def better_by(lead):
    return lambda epsilon: logistic(low=0.4, high=0.8)(epsilon) + lead


def at(evidence, *epsilons, target=None):
    """The private cells moved to these epsilons."""
    moved = []
    for place, (cell, epsilon) in enumerate(zip(evidence.private, epsilons, strict=True)):
        setting = {**cell.setting, **({} if target is None else {"target_epsilon": target})}
        moved.append(replace(cell, index=place, epsilon=Epsilon(lower=0, upper=epsilon), setting=setting))
    return replace(evidence, cells=tuple(moved))


def test_a_planted_difference_is_found_with_its_interval():
    found = compare(
        side(1, frontier=better_by(0.06), seeds=10), side(2, frontier=better_by(0), seeds=10), names=NAMES
    )
    assert [match.verdict for match in found.matches] == [Verdict.FIRST] * 2
    for match in found.matches:
        assert match.paired
        assert match.difference.ci95[0] < 0.06 < match.difference.ci95[1]
        assert match.p_value <= match.p_adjusted <= 0.05
        assert match.seeds_needed is None
        assert match.first.candidates == match.second.candidates == 3
    assert found.verdict.startswith("flat is better than automatic at 2 of 2 matched epsilons: at epsilon ")
    assert "its accuracy is higher by " in found.verdict


def test_turned_round_it_says_the_same():
    one, other = side(1, frontier=better_by(0.06), seeds=10), side(2, frontier=better_by(0), seeds=10)
    there, back = compare(one, other), compare(other, one)
    for first, second in zip(there.matches, back.matches, strict=True):
        assert first.p_adjusted == second.p_adjusted
        assert first.difference.mean == -second.difference.mean
        assert first.difference.ci95 == pytest.approx(tuple(-end for end in reversed(second.difference.ci95)))
    assert back.verdict.replace("simulated", "") == there.verdict.replace("simulated", "")


@pytest.mark.parametrize("paired", [True, False])
def test_two_equal_methods_are_called_different_in_at_most_one_case_of_twenty(paired):
    """200 times, with more settings on one side; 21 or more have a chance below 0.5% if the rate is 5%."""
    declared = missed = 0
    for i in range(200):
        one, other = (
            side([i, which], lrs=lrs, frontier=level(0.8), seeds=5, paired=paired)
            for which, lrs in enumerate((6, 2))
        )
        found = compare(one, other)
        declared += any(match.verdict is not Verdict.OPEN for match in found.matches)
        missed += not found.matches[0].difference.ci95[0] <= 0 <= found.matches[0].difference.ci95[1]
    assert max(declared, missed) < 21


def test_one_setting_a_side_is_students_paired_test():
    from scipy.stats import ttest_rel

    one, other = (side(i, lrs=1, epsilons=(2.0,), seeds=8, num_test=None) for i in (1, 2))
    (match,) = compare(one, other).matches
    expected = ttest_rel(one.values(one.private[0]), other.values(other.private[0]))
    assert match.p_value == pytest.approx(expected.pvalue, rel=1e-3)
    assert match.difference.ci95 == pytest.approx(tuple(expected.confidence_interval()), rel=1e-3)


def test_one_setting_a_side_without_shared_seeds_is_welchs_test():
    from scipy.stats import ttest_ind

    one, other = (side(i, lrs=1, epsilons=(2.0,), seeds=8, num_test=None, paired=False) for i in (1, 2))
    (match,) = compare(one, other).matches
    values = (e.values(e.private[0]) for e in (one, other))
    assert not match.paired
    assert match.p_value == pytest.approx(ttest_ind(*values, equal_var=False).pvalue, rel=0.1)


@pytest.mark.parametrize("shift", [0, 2, 100])
def test_seeds_are_paired_where_most_are_common(shift):
    one, other = side(1), side(2)
    cells = tuple(replace(cell, seeds=cell.seeds + shift) for cell in other.cells)
    found = compare(one, replace(other, cells=cells))
    assert {match.paired for match in found.matches} == {shift < 3}
    assert not any(match.paired for match in compare(one, other, same_data=False).matches)


def test_only_near_epsilons_are_matched():
    one = at(side(1, lrs=1, epsilons=(1.0, 2.0, 4.0)), 1.0, 2.0, 4.0)
    other = at(side(2, lrs=1, epsilons=(1.0, 2.0, 4.0)), 0.995, 2.1, 8.0)
    found = compare(one, other)
    assert [(m.epsilon, m.first.epsilon, m.second.epsilon) for m in found.matches] == [(1.0, 1.0, 0.995)]
    assert (found.unmatched_first, found.unmatched_second) == ((2.0, 4.0), (2.1, 8.0))
    assert found.matches[0].matching is Matching.TOLERANCE
    wider = compare(one, other, tolerance=0.1)
    assert [match.epsilon for match in wider.matches] == [1.0, 2.1]


def test_one_target_is_one_epsilon_for_both():
    one = at(side(1, lrs=2, epsilons=(2.0,)), 1.992, 1.999, target=2)
    other = at(side(2, lrs=2, epsilons=(2.0,)), 1.985, 1.99, target=2)
    (match,) = compare(one, other).matches
    assert (match.epsilon, match.matching) == (1.999, Matching.TARGET)
    assert (match.first.candidates, match.second.candidates) == (2, 2)


def test_what_cannot_be_told_apart_says_how_many_seeds_it_would_take():
    found = compare(side(3, frontier=better_by(0.01)), side(4, frontier=better_by(0)), names=NAMES)
    assert {match.verdict for match in found.matches} == {Verdict.OPEN}
    assert all(match.seeds_needed > 6 for match in found.matches)
    assert found.verdict.startswith(
        "flat and automatic cannot be told apart at epsilon 1 and 4: the largest "
    )
    assert "seeds a setting would show it" in found.verdict


def test_the_seeds_that_are_said_to_be_needed_do():
    from scipy.stats import t

    (match,) = compare(
        side(3, lrs=1, epsilons=(1.0,), frontier=better_by(0.012), num_test=None),
        side(4, lrs=1, epsilons=(1.0,), frontier=better_by(0), num_test=None),
    ).matches
    n, sd = match.seeds_needed, match.difference.std * math.sqrt(6 / 5)
    assert t.ppf(0.975, n - 1) * sd / math.sqrt(n) <= abs(match.difference.mean)
    assert t.ppf(0.975, n - 2) * sd / math.sqrt(n - 1) > abs(match.difference.mean)


def test_one_seed_tells_nothing_and_says_so():
    found = compare(side(1, seeds=1, frontier=better_by(0.3)), side(2, seeds=1, frontier=better_by(0)))
    assert {match.verdict for match in found.matches} == {Verdict.OPEN}
    assert all(match.difference.ci95 is None and match.p_value == 1 for match in found.matches)
    assert found.verdict.endswith("one seed a setting shows nothing of how seeds differ; run several")


def test_a_loss_is_better_lower():
    options = {"seeds": 10, "maximize": False, "num_test": None}
    found = compare(
        side(1, frontier=better_by(0.1), **options), side(2, frontier=better_by(0), **options), names=NAMES
    )
    assert found.verdict.startswith("flat is better than automatic")
    assert "its error is lower by 0." in found.verdict


def test_the_better_side_may_change_with_epsilon():
    falling = side(1, frontier=lambda epsilon: 0.9 if epsilon < 2 else 0.5, seeds=10)
    found = compare(falling, side(2, frontier=level(0.7), seeds=10), names=NAMES)
    assert [match.verdict for match in found.matches] == [Verdict.FIRST, Verdict.SECOND]
    assert found.verdict.startswith("flat is better than automatic at 1 of 2 matched epsilons: at epsilon 1 ")
    assert "; automatic is better than flat at 1 of 2 matched epsilons: at epsilon 4 " in found.verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"delta": 1e-6}, "at one delta to compare, found delta=1e-05 and delta=1e-06; train one side again"),
        ({"neighboring_relation": "zero_out"}, "neighboring_relation=add_or_remove_one and zero_out; train"),
        ({"metric": "loss"}, "metric=accuracy and metric=loss; choose one that both have with --metric"),
        ({"cells": ()}, "private runs with a finite epsilon and accuracy, found none in simulated; train it"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_remedy(changes, words):
    with pytest.raises(ComparisonError, match=words) as error:
        compare(side(1), replace(side(2), **changes))
    assert "\n" not in str(error.value)


def test_no_common_epsilon_is_refused_with_both_lists():
    with pytest.raises(
        ComparisonError, match=r"found 1, 4 in a and 2, 8 in b; train both at one target_epsilon"
    ):
        compare(side(1), side(2, epsilons=(2.0, 8.0)), names=("a", "b"))
    with pytest.raises(ComparisonError, match="tolerance must lie in"):
        compare(side(1), side(2), tolerance=1.5)


def test_infinite_epsilons_are_left_out():
    one = side(1, lrs=1)
    unbounded = Cell(
        index=len(one.cells),
        arm=Arm.BOTH,
        setting={"lr": 9.0},
        epsilon=Epsilon(lower=1, upper=math.inf),
        seeds=np.arange(3),
        scores={"accuracy": np.ones(3)},
        diverged=np.zeros(3, dtype=bool),
        compute=1.0,
    )
    found = compare(replace(one, cells=(*one.cells, unbounded)), side(2, lrs=1))
    assert [match.first.candidates for match in found.matches] == [1, 1]
