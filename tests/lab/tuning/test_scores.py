"""Scores of trials: on public rows as they are, on private rows as noisy counts."""

import math
from fractions import Fraction

import numpy as np
import pytest

from clifftop import accounting
from clifftop.events import DiscreteGaussian, NegativeBinomialTrials, NeighboringRelation, RepeatAndSelect
from clifftop.lab.spec import Factory
from clifftop.lab.tuning.discrete import discrete_gaussian
from clifftop.lab.tuning.scores import WORST, CountScore, PublicScore, least_std

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
GEOMETRIC = NegativeBinomialTrials(mean=10.0)


def chi_square(draws, std):
    """In standard deviations above its mean, over the values that are likely enough."""
    reach = math.ceil(3 * float(std))
    values = np.arange(-reach, reach + 1)
    wide = np.arange(-40 * reach, 40 * reach + 1)
    weights = np.exp(-(values**2) / (2 * float(std) ** 2)) / np.exp(-(wide**2) / (2 * float(std) ** 2)).sum()
    seen = np.array([(draws == value).sum() for value in values])
    expected = len(draws) * weights
    used = expected > 5
    chi = float(((seen - expected)[used] ** 2 / expected[used]).sum())
    return (chi - used.sum()) / math.sqrt(2 * used.sum())


@pytest.mark.parametrize("std", [Fraction(1, 2), Fraction(1), Fraction(11, 4)])
def test_noise_is_discrete_gaussian(std):
    """Three tests of chi-square at 6 deviations, a false alarm below 1e-4 each; half more must alarm."""
    rng = np.random.default_rng(7)
    draws = np.array([discrete_gaussian(std, rng) for _ in range(1500)])
    assert chi_square(draws, std) < 6
    wider = np.array([discrete_gaussian(std * 3 / 2, rng) for _ in range(1500)])
    assert chi_square(wider, std) > 6


def test_public_scores_are_ordered_by_the_goal():
    rng = np.random.default_rng(0)
    assert PublicScore(maximize=True).score(0.7, rng) == 0.7
    assert PublicScore(maximize=False).score(0.7, rng) == -0.7
    for mean in (math.nan, math.inf, -math.inf):
        assert PublicScore(maximize=False).score(mean, rng) == WORST


def test_private_scores_are_noisy_counts():
    rule = CountScore(num_rows=1000, std=2.5, maximize=True)
    scores = [rule.score(0.731, np.random.default_rng(seed)) for seed in range(300)]
    assert all(score == int(score) for score in scores)
    assert np.mean(scores) == pytest.approx(731, abs=1)
    assert np.std(scores) == pytest.approx(2.5, rel=0.2)
    assert (
        CountScore(num_rows=1000, std=2.5, maximize=False).score(0.731, np.random.default_rng(0))
        == -scores[0]
    )


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_the_least_noise_is_within_the_price_and_hardly_more_is_not_needed(epsilon):
    std = least_std(GEOMETRIC, epsilon=epsilon, delta=1e-5, neighboring_relation=ADD)

    def cost(std):
        event = RepeatAndSelect(DiscreteGaussian(noise_multiplier=std), GEOMETRIC)
        return accounting.epsilon(event, delta=1e-5, neighboring_relation=ADD).upper

    assert cost(std) <= epsilon < cost(max(std - 0.25, 0.9 * std) - 0.05)


def test_a_private_score_costs_the_larger_and_not_the_sum(tools):
    public = tools.small_design()
    private = tools.small_design(num_scored=40)
    assert private.epsilon.upper == public.epsilon.upper
    assert private.score.std >= 1
    assert private.score.num_rows == 40
    assert "private rows" in private.score.words


@pytest.mark.parametrize(
    "metrics",
    [
        (Factory(target="clifftop.criteria:cross_entropy"),),
        (Factory(target="clifftop.criteria:token_accuracy"),),
        (),
    ],
)
def test_scores_on_private_rows_that_are_no_counts_are_refused(tools, metrics):
    sweep = tools.small_sweep(metrics=metrics)
    tools.small_design(sweep)
    with pytest.raises(tools.TuneError, match="must be a count") as caught:
        tools.small_design(sweep, num_scored=40)
    assert "\n" not in str(caught.value)
