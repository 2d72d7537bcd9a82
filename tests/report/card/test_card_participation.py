"""Batches drawn again: sound samplers pass about as often as stated, others are found."""

import math

import numpy as np
import pytest

from clifftop.noise import Keyed
from clifftop.report.card.participation import (
    LEVEL,
    UnknownSampler,
    binomial_p_value,
    check_poisson,
    check_rounds,
    drawn_by,
    enough_spread,
    look_at_batches,
    spread_p_value,
)
from clifftop.sampling import BatchSampler, FixedOrder, Poisson

N, STEPS, Q = 400, 60, 0.1
SIZE = int(N * Q)


def poisson(rng):
    return [np.flatnonzero(rng.random(N) < Q) for _ in range(STEPS)]


def shuffled_epochs(rng):
    order = np.concatenate([rng.permutation(N) for _ in range(STEPS * SIZE // N)])
    return np.split(order, STEPS)


def fixed_size(rng):
    return [rng.choice(N, SIZE, replace=False) for _ in range(STEPS)]


def sticky(rng):
    """Each row joins with the right probability, and then tends to stay."""
    present = rng.random(N) < Q
    batches = []
    for _ in range(STEPS):
        present = np.where(rng.random(N) < 0.5, present, rng.random(N) < Q)
        batches.append(np.flatnonzero(present))
    return batches


def too_often(rng):
    return [np.flatnonzero(rng.random(N) < 1.15 * Q) for _ in range(STEPS)]


def seen(batches):
    return check_poisson(batches, sampling_prob=Q, num_examples=N, steps=STEPS)


def test_sound_samples_pass():
    """False alarms have a chance of about 1e-4 a run: more than 2 of 300 would be a chance of 5e-6."""
    rng = np.random.default_rng(1)
    found = [seen(poisson(rng)) for _ in range(300)]
    assert sum(not one.holds for one in found) <= 2
    assert {len(one.statistics) for one in found} == {3}


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (shuffled_epochs, "how often a row took part"),
        (fixed_size, "spread of the batch sizes"),
        (sticky, "spread of how often"),
        (too_often, "rows drawn in all steps"),
    ],
)
def test_other_samplers_are_found(draw, words):
    """Each of twenty times; a single miss fails."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        found = seen(draw(rng))
        assert not found.holds
        assert any(words in fault for fault in found.faults), found.faults


def test_blocks_and_rows_that_stay_are_found_by_their_pairs():
    many = {"sampling_prob": 0.1, "num_examples": 2000, "steps": 60}
    rng = np.random.default_rng(3)
    found = check_poisson([(rng.integers(2000) + np.arange(200)) % 2000 for _ in range(60)], **many)
    assert any("neighbouring rows" in fault for fault in found.faults)
    rows = [np.flatnonzero(rng.random(2000) < 0.1)] * 60
    assert any("successive steps" in fault for fault in check_poisson(rows, **many).faults)
    sound = check_poisson([np.flatnonzero(rng.random(2000) < 0.1) for _ in range(60)], **many)
    assert len(sound.statistics) == 5
    assert sound.holds


@pytest.mark.parametrize(
    ("trials", "counts", "prob"), [(400, 13, 0.16), (13, 400, 0.16), (5, 200, 0.3), (10, 300, 0.1)]
)
def test_small_p_values_are_about_as_rare_as_they_say(trials, counts, prob):
    """Of 20,000 sums 20 are expected below 1e-3; 45 or more have a chance below 1e-6 if exact."""
    assert enough_spread(trials=trials, counts=counts, prob=prob)
    drawn = np.random.default_rng(4).binomial(trials, prob, size=(20_000, counts))
    sums = (((drawn - trials * prob) ** 2) / (trials * prob * (1 - prob))).sum(1)
    grid = np.sort(sums)
    # The p-value falls outward: it is enough to ask where it crosses.
    low = sum(spread_p_value(x, trials=trials, counts=counts, prob=prob) < 1e-3 for x in grid[:100])
    high = sum(spread_p_value(x, trials=trials, counts=counts, prob=prob) < 1e-3 for x in grid[-100:])
    assert low + high < 45


def test_the_binomial_p_value_is_exact():
    law = [math.comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    for observed in (0, 3, 11, 20):
        expected = min(1.0, 2 * min(sum(law[: observed + 1]), sum(law[observed:])))
        assert binomial_p_value(observed, trials=20, prob=0.3) == pytest.approx(expected, rel=1e-12)
    assert binomial_p_value(20, trials=20, prob=1.0) == 1.0
    assert binomial_p_value(19, trials=20, prob=1.0) == 0.0


def test_a_row_listed_twice_and_a_row_that_is_not_there():
    found = check_poisson([np.array([1, 1, N])], sampling_prob=Q, num_examples=N, steps=1)
    assert any("twice" in fault for fault in found.faults)
    assert any("not there" in fault for fault in found.faults)


def test_every_row_in_every_batch():
    found = check_poisson([np.arange(10)] * 3, sampling_prob=1.0, num_examples=10, steps=3)
    assert found.holds
    assert found.rounds == (3, 3.0, 3)


def test_a_fixed_order_is_counted_exactly():
    rng = drawn_by(Keyed().open([3]), 3)
    found = look_at_batches(FixedOrder(batch_size=30), steps=9, num_examples=100, rng=rng)
    assert found.holds
    assert found.rounds == (2, pytest.approx(2.3), 3)
    assert found.batch_sizes == (10, pytest.approx(230 / 9), 30)
    assert found.expected_rounds == 3.0
    more = check_rounds([np.arange(5)] * 4, most=3, num_examples=10, steps=4)
    assert more.faults == ("a row took part in 4 batches where 3 were accounted",)


def test_the_run_itself_is_drawn_again():
    streams = Keyed().open([11])
    sampler = Poisson(sampling_prob=Q)
    rng = drawn_by(streams, 11)
    found = look_at_batches(sampler, steps=STEPS, num_examples=N, rng=rng)
    sizes = [len(sampler.batch(step, num_examples=N, rng=rng)) for step in range(STEPS)]
    assert found.batch_sizes == (min(sizes), np.mean(sizes), max(sizes))
    assert found.holds
    assert found.steps_seen == STEPS


def test_a_long_run_is_looked_at_in_part(monkeypatch):
    monkeypatch.setattr("clifftop.report.card.participation.MOST_DRAWS", 10 * N)
    found = look_at_batches(Poisson(sampling_prob=Q), steps=STEPS, num_examples=N, rng=np.random.default_rng)
    assert (found.steps, found.steps_seen) == (STEPS, 10)


def test_an_unknown_sampler_is_refused():
    class Whole(BatchSampler):
        def batch(self, step, *, num_examples, rng):
            return np.arange(num_examples)

    with pytest.raises(UnknownSampler, match="found Whole"):
        look_at_batches(Whole(), steps=1, num_examples=4, rng=np.random.default_rng)


def test_the_level_is_that_of_all_statistics_together():
    assert LEVEL == 1e-4
