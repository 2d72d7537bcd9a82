"""Samplers: inclusion rates, independence, order, participation."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from clifftop.noise import generator
from clifftop.sampling import FixedOrder, Poisson

FALSE_ALARM = 1e-6


def inclusion(sampler, *, num_examples: int, steps: int) -> np.ndarray:
    rng = partial(generator, 7, "sampling")
    table = np.zeros((steps, num_examples), dtype=bool)
    for step in range(steps):
        table[step, sampler.batch(step, num_examples=num_examples, rng=rng)] = True
    return table


def poisson_p_values(table: np.ndarray, q: float) -> tuple[float, float, float]:
    """P-values of 'the rate is q', 'every example has it' and 'batch sizes are binomial'."""
    steps, n = table.shape
    overall = stats.binomtest(int(table.sum()), steps * n, q).pvalue
    rates = stats.chi2.sf(((table.sum(0) - steps * q) ** 2 / (steps * q * (1 - q))).sum(), n)
    spread = (table.sum(1) - n * q) ** 2 / (n * q * (1 - q))
    return overall, rates, 2 * min(stats.chi2.sf(spread.sum(), steps), stats.chi2.cdf(spread.sum(), steps))


def test_poisson_includes_each_example_at_its_rate_and_independently():
    table = inclusion(Poisson(sampling_prob=0.16), num_examples=400, steps=2000)
    assert min(poisson_p_values(table, 0.16)) > FALSE_ALARM


def test_the_poisson_check_notices_fixed_size_batches():
    """Negative control: the same rate, but every batch of one size."""
    rng = np.random.default_rng(0)
    table = np.zeros((2000, 400), dtype=bool)
    for row in table:
        row[rng.choice(400, 64, replace=False)] = True
    *_, sizes = poisson_p_values(table, 0.16)
    assert sizes < FALSE_ALARM


def test_the_poisson_check_notices_a_wrong_rate():
    """Negative control: a rate 3% too high."""
    table = inclusion(Poisson(sampling_prob=0.165), num_examples=400, steps=2000)
    assert min(poisson_p_values(table, 0.16)) < FALSE_ALARM


def test_poisson_batches_may_be_empty():
    table = inclusion(Poisson(sampling_prob=0.01), num_examples=10, steps=200)
    assert (table.sum(1) == 0).any()


def test_batches_resume_at_any_step():
    sampler, rng = Poisson(sampling_prob=0.3), partial(generator, 3, "sampling")
    whole = sampler.batches(20, rng)
    first = [next(whole).tolist() for _ in range(6)]
    rest = sampler.batches(20, rng, start=4)
    assert [next(rest).tolist() for _ in range(2)] == first[4:]


@pytest.mark.parametrize(("n", "size"), [(400, 64), (10, 4), (8, 8), (9, 1)])
def test_a_fixed_order_visits_every_example_once_an_epoch(n: int, size: int):
    sampler = FixedOrder(batch_size=size)
    epoch = sampler.steps_per_epoch(n)
    for start in (0, epoch, 5 * epoch):
        rows = [i for s in range(start, start + epoch) for i in sampler.batch(s, num_examples=n, rng=None)]
        assert rows == list(range(n))


@pytest.mark.parametrize("steps", [1, 6, 7, 8, 139, 140, 141])
def test_participations_count_the_busiest_example(steps: int):
    sampler = FixedOrder(batch_size=64)
    table = inclusion(sampler, num_examples=400, steps=steps)
    assert sampler.participations(steps=steps, num_examples=400) == table.sum(0).max()


@pytest.mark.parametrize("q", [0.0, -0.1, 1.1, float("nan")])
def test_a_sampling_probability_outside_its_range_is_named(q: float):
    with pytest.raises(ValueError, match=r"sampling_prob must be in \(0, 1\], found sampling_prob="):
        Poisson(sampling_prob=q)


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_a_batch_size_that_is_no_count_is_named(size: object):
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        FixedOrder(batch_size=size)


def test_a_batch_larger_than_the_data_is_named():
    with pytest.raises(ValueError, match="batch_size=65 and num_examples=64"):
        FixedOrder(batch_size=65).batch(0, num_examples=64, rng=None)
