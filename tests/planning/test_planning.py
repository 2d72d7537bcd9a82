"""A plan's laws: every epsilon is met, more compute never means more noise, the proposal is a row."""

import itertools
import math
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop import accounting
from clifftop.accounting import RenyiAccountant
from clifftop.accounting.calibration import Unreachable
from clifftop.codec import canonical_json, from_json
from clifftop.events import NeighboringRelation
from clifftop.planning import (
    Compute,
    Question,
    TrainingPlan,
    batch_grid,
    candidate,
    candidates,
    fall_per_doubling,
    noise_reach,
    plan_training,
    propose,
)
from clifftop.planning.advice import DISTANCE, MOST_REACH

N = 60_000


def asked(*, epochs=40.0, n=N, epsilon=3.0, delta=1e-5, **others):
    return Question(
        num_examples=n,
        epsilon=epsilon,
        delta=delta,
        compute=Compute.of_epochs(epochs, num_examples=n),
        **others,
    )


@pytest.mark.parametrize("relation", NeighboringRelation)
def test_every_epsilon_is_met_and_barely(relation):
    question = asked(epochs=10, neighboring_relation=relation)
    for row in candidates(question):
        event = question.event(
            batch_size=row.batch_size, steps=row.steps, noise_multiplier=row.noise_multiplier
        )
        bound = accounting.epsilon(event, delta=1e-5, neighboring_relation=relation)
        assert bound.upper <= 3.0
        assert row.epsilon == bound
        less = question.event(
            batch_size=row.batch_size, steps=row.steps, noise_multiplier=0.999 * row.noise_multiplier
        )
        assert accounting.epsilon(less, delta=1e-5, neighboring_relation=relation).upper > 3.0


def test_another_accountant_does_not_contradict():
    question = asked()
    accountant = RenyiAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for row in candidates(question, [256, 4096]):
        event = question.event(
            batch_size=row.batch_size, steps=row.steps, noise_multiplier=row.noise_multiplier
        )
        renyi = accountant.epsilon(event, delta=1e-5)
        assert renyi.upper >= row.epsilon.lower
        assert renyi.upper < 4.0


@pytest.mark.parametrize(
    ("batch_size", "epochs", "sigma"), [(512, 20, 1.091), (2048, 40, 2.483), (8192, 40, 4.804)]
)
def test_the_noise_is_that_of_other_accountants(batch_size, epochs, sigma):
    # By a privacy-loss-distribution accountant of another library, which rounds losses up, and steps too.
    row = candidate(asked(epochs=epochs, epsilon=2.0), batch_size)
    assert 0.99 * sigma < row.noise_multiplier <= sigma + 1e-3


def test_noise_grows_with_the_rate_and_the_noise_of_an_update_falls():
    table = candidates(asked())
    for small, large in itertools.pairwise(table):
        assert small.noise_multiplier < large.noise_multiplier
        assert large.noise_per_update < small.noise_per_update
        assert large.total_noise < small.total_noise


def test_at_fixed_compute_an_update_gains_29_per_cent_a_doubling_and_more():
    for small, large in itertools.pairwise(candidates(asked(), [2**k for k in range(4, 15)])):
        assert large.noise_per_update / small.noise_per_update < 1 / math.sqrt(2) + 1e-3


@settings(derandomize=True, max_examples=8, deadline=None)
@given(
    epsilon=st.floats(0.2, 12),
    epochs=st.floats(1, 60),
    more=st.floats(1.05, 8),
    batch_size=st.sampled_from([64, 600, 7000]),
)
def test_more_compute_never_means_more_noise(epsilon, epochs, more, batch_size):
    # The tolerance of the calibration is 1e-4; steps are rounded down, which may cost a part of a step.
    little, much = (candidate(asked(epochs=e, epsilon=epsilon), batch_size) for e in (epochs, more * epochs))
    assert much.steps >= little.steps
    assert much.total_noise <= little.total_noise * 1.0003
    at_same_steps = Question(
        num_examples=N,
        epsilon=epsilon,
        delta=1e-5,
        compute=Compute.of_example_gradients(little.steps * 2 * batch_size),
    )
    assert candidate(at_same_steps, 2 * batch_size).noise_per_update <= little.noise_per_update


def test_more_privacy_means_more_noise():
    rows = [candidate(asked(epsilon=epsilon), 1024) for epsilon in (0.5, 1, 3, 8)]
    assert [row.noise_multiplier for row in rows] == sorted(
        (row.noise_multiplier for row in rows), reverse=True
    )


def test_the_ratios_are_what_they_are_said_to_be():
    row = candidate(asked(), 1024)
    q, sigma, steps = 1024 / N, row.noise_multiplier, row.steps
    assert row.steps == 40 * N // 1024
    assert row.epochs == pytest.approx(40, rel=1e-3)
    assert row.noise_per_update == pytest.approx(sigma / (q * N))
    assert row.total_noise == pytest.approx(sigma / (q * math.sqrt(steps)))
    assert row.eta**2 == pytest.approx(q**2 * steps / (2 * sigma**2))
    assert row.snr_total() == pytest.approx(math.sqrt(steps) * row.snr_per_step())
    assert row.snr_total(100) == pytest.approx(N / (10 * row.total_noise))
    assert noise_reach(row, 100) * row.noise_per_update * math.sqrt(100 * steps) == pytest.approx(DISTANCE)


def test_all_examples_at_once_is_the_gaussian_mechanism():
    row = candidate(asked(), N)
    assert row.steps == 40
    # Sigma of one Gaussian release with epsilon 3 at delta 1e-5 (Balle and Wang 2018).
    assert row.total_noise == pytest.approx(1.3906, rel=1e-3)


def test_the_proposal_is_the_first_row_from_which_a_doubling_brings_little():
    question = asked(epochs=100, parameters=1000)
    table = candidates(question)
    found = propose(question, table, knee=0.1)
    place = table.index(found.candidate)
    assert fall_per_doubling(table[place], table[place + 1]) < 0.1
    assert all(fall_per_doubling(*pair) >= 0.1 for pair in itertools.pairwise(table[: place + 1]))
    assert propose(question, table, knee=0.01).candidate.batch_size > found.candidate.batch_size
    assert found.lr in found.lrs
    assert found.half_compute > 0 < found.double_compute


def test_too_few_steps_stop_the_proposal():
    question = asked(epochs=3, epsilon=8.0, parameters=26_010)
    table = candidates(question)
    found = propose(question, table)
    assert noise_reach(found.candidate, 26_010) <= MOST_REACH
    assert noise_reach(table[table.index(found.candidate) + 1], 26_010) > MOST_REACH
    assert "steps" in found.reason


def test_one_row_is_a_table():
    plan = plan_training(asked(), batch_sizes=[1024])
    assert plan.proposal.reason == "the only batch size of the table"


def test_compute_for_half_a_step_is_said_to_be_none():
    question = replace(asked(), compute=Compute.of_example_gradients(700))
    assert plan_training(question, batch_sizes=[512]).proposal.half_compute is None


def test_a_plan_goes_to_json_and_back():
    plan = plan_training(asked(), batch_sizes=[512, 1024, 2048])
    assert from_json(canonical_json(plan), TrainingPlan) == plan


def test_the_grid_has_a_dozen_sizes_whatever_the_data():
    for n in (1, 2, 100, 4096, 60_000, 10**9):
        grid = batch_grid(n)
        assert list(grid) == sorted(set(grid))
        assert grid[0] >= 1
        assert grid[-1] == n
        assert len(grid) <= 14
    assert batch_grid(60_000, most=5) == (5,)


def test_a_plan_takes_seconds_at_most():
    # Half a second of an idle core; a busy machine counts waiting for memory too.
    started = time.process_time()
    plan_training(asked(epochs=100))
    assert time.process_time() - started < 6


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"n": 0}, "num_examples must be"),
        ({"n": 1.5}, "num_examples must be"),
        ({"epsilon": 0.0}, "epsilon must be a finite number > 0"),
        ({"epsilon": math.inf}, "epsilon must be a finite number > 0"),
        ({"delta": 1.0}, "delta must be between 0 and 1"),
        ({"delta": math.nan}, "delta must be between 0 and 1"),
        ({"epochs": 0.0}, "epochs must be a finite number > 0"),
        ({"epochs": 1e-9}, "at least one gradient"),
        ({"parameters": 0}, "parameters must be a whole number >= 1"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name(change, complaint):
    with pytest.raises(ValueError, match=complaint) as refused:
        asked(**change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", [0, -1, 1.0, True, N + 1])
def test_a_batch_must_fit_the_data(size):
    with pytest.raises(ValueError, match="batch_size must be a whole number between 1 and num_examples"):
        candidate(asked(), size)


def test_a_batch_must_fit_the_compute():
    with pytest.raises(ValueError, match="the compute must pay for one step"):
        candidate(asked(epochs=0.01), 1024)


@pytest.mark.parametrize("knee", [0, 1, -0.1, math.nan, True])
def test_a_knee_is_a_part(knee):
    with pytest.raises(ValueError, match="knee must be between 0 and 1"):
        plan_training(asked(), batch_sizes=[1024], knee=knee)


def test_empty_tables_are_refused():
    with pytest.raises(ValueError, match="at least one size"):
        candidates(asked(), [])
    with pytest.raises(ValueError, match="found no row"):
        propose(asked(), [])


def test_an_epsilon_beyond_the_accountant_is_refused():
    with pytest.raises(Unreachable, match="must be reachable"):
        plan_training(asked(epsilon=1e-9, delta=1e-12), batch_sizes=[N])


def test_flop_become_gradients():
    assert Compute.of_flop(1e9, flop_per_example=1e6).example_gradients == 1000
    assert Compute.of_flop(6e9, parameters=1000).example_gradients == 10**6
    reference = Compute.of_flop(1e12)
    assert "small convolutional network" in reference.assumed[0]
    assert reference.at_most(1, num_examples=100).assumed == reference.assumed
    assert reference.at_most(1e9, num_examples=100) is reference
    with pytest.raises(ValueError, match="at least one gradient"):
        Compute.of_flop(1e3)
    with pytest.raises(ValueError, match="flop_per_example must be"):
        Compute.of_flop(1e9, flop_per_example=-1.0)
