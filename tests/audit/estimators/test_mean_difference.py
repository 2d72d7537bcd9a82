"""The bound by means: exact laws on Gaussians, what breaks it elsewhere."""

import numpy as np
import pytest
from scipy import stats

from clifftop.audit.estimators.mean_difference import epsilon_from_means

OPTIONS = {"delta": 1e-5, "confidence": 0.95}


def mus(rng, draw, repetitions, spread, *, one_in=3):
    for _ in range(repetitions):
        coins = np.arange(60) % one_in == 0
        bound = epsilon_from_means(draw(rng, coins), coins, spread=spread, **OPTIONS)
        yield dict(bound.detail)["mu"]


def gaussian(rng, coins):
    return 3.0 + 2.0 * (rng.normal(size=coins.size) + coins)


@pytest.mark.parametrize("spread", [None, 2.0])
def test_the_level_is_exact_on_gaussians(allowed, spread):
    """Above 1 in 5% of 200 runs: no more than chance, and no fewer than 3, each below 1e-3."""
    alarms = sum(mu > 1.0 for mu in mus(np.random.default_rng(1), gaussian, 200, spread))
    assert 3 <= alarms <= allowed(200)


@pytest.mark.parametrize(("each", "tail"), [(2, 0.05), (2, 1e-4), (10, 1e-4), (500, 1e-4)])
def test_the_level_holds_at_few_scores_and_high_confidence(each, tail):
    """At the mu that is just refuted, what was seen has the chance ``tail``, by scipy's law."""
    free, width = 2 * each - 2, np.sqrt(2 / each)
    seen = stats.nct.ppf(1.0 - tail, free, 1.0 / width)
    scores = np.tile([-1.0, 1.0], each)
    coins = np.arange(2 * each) < each
    spread = np.sqrt(2.0 * each / free)
    bound = epsilon_from_means(scores + seen * spread * width * coins, coins, delta=1e-5, confidence=1 - tail)
    mu = dict(bound.detail)["mu"]
    assert mu == pytest.approx(1.0, abs=1e-3)
    assert stats.nct.sf(seen, free, mu / width) <= tail * 1.001


def test_is_students_noncentral_law():
    rng = np.random.default_rng(2)
    for size in (5, 12, 400):
        coins = np.arange(size) % 2 == 0
        scores = rng.normal(size=size) + 3.0 * coins
        mu = dict(epsilon_from_means(scores, coins, **OPTIONS).detail)["mu"]
        shown = stats.ttest_ind(scores[coins], scores[~coins]).statistic
        width = np.sqrt(1 / coins.sum() + 1 / (~coins).sum())
        assert stats.nct.sf(shown, size - 2, mu / width) == pytest.approx(0.05, rel=5e-3)


def test_another_spread_among_the_few_included_breaks_the_level(allowed):
    """Negative control: the same mean, so that nothing may be shown, but six times the spread."""

    def uneven(rng, coins):
        return np.where(coins, 6.0, 1.0) * rng.normal(size=coins.size)

    alarms = sum(mu > 0 for mu in mus(np.random.default_rng(3), uneven, 200, None, one_in=6))
    assert alarms > allowed(200)


def test_equal_scores_show_nothing_and_all_or_nothing_shows_the_most():
    coins = np.arange(20) % 2 == 0
    assert not epsilon_from_means(np.zeros(20), coins, **OPTIONS).detected
    assert epsilon_from_means(coins.astype(float), coins, **OPTIONS).epsilon > 1000


@pytest.mark.parametrize(
    ("scores", "coins", "options", "found"),
    [
        ([1.0, 2.0, 3.0], [True, True, False], OPTIONS, "left_out=1"),
        ([1.0, 2.0, 3.0, np.inf], [True, True, False, False], OPTIONS, "infinite=1"),
        ([1.0, 2.0], [True], OPTIONS, "one boolean a score"),
        ([1.0] * 4, [True, True, False, False], OPTIONS | {"delta": 0.0}, "delta must be > 0"),
        ([1.0] * 4, [True, True, False, False], OPTIONS | {"spread": 0.0}, "spread"),
    ],
)
def test_refuses(scores, coins, options, found):
    with pytest.raises(ValueError, match=found):
        epsilon_from_means(scores, np.array(coins), **options)
