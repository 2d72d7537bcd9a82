"""Attacks on worlds of known leakage: the strong ones reach what can be reached, the weak ones do not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from clifftop.audit.attacks import (
    ALL,
    CalibratedLoss,
    LiraOffline,
    LiraOnline,
    LossThreshold,
    Observations,
    Rmia,
    attack_models,
    epsilon_from_targets,
    log_odds,
    membership_curve,
    observations_of,
)
from clifftop.audit.attacks.others import others
from clifftop.audit.document import Verdict
from clifftop.audit.estimators import Counts
from clifftop.audit.estimators.thresholds import epsilon_from_counts


def auc(attack, world):
    scores = attack.scores(world)
    return stats.mannwhitneyu(scores[world.member], scores[~world.member]).statistic / (
        world.member.sum() * (~world.member).sum()
    )


def test_lira_reaches_what_a_gaussian_world_permits(worlds):
    world = worlds.gaussian(models=128)
    best = stats.norm.cdf(1.0 / math.sqrt(2.0))  # the area of the Neyman-Pearson test
    assert best - 0.02 < auc(LiraOnline(), world) < best + 0.01
    assert best - 0.02 < auc(LiraOffline(), world) < best + 0.01


def test_a_threshold_on_the_loss_misses_what_shadows_see(worlds):
    world = worlds.gaussian(models=128)
    weak, strong = auc(LossThreshold(), world), auc(LiraOnline(), world)
    assert weak < strong - 0.1
    assert weak < auc(CalibratedLoss(), world) < strong + 0.01
    assert weak < auc(Rmia(), world) < strong + 0.01


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.name)
def test_where_nothing_leaks_nothing_is_found(attack, worlds):
    """Area 1/2 within 4 standard errors: 12,800 pairs, false alarm below 1e-4."""
    world = worlds.gaussian(shift=0.0)
    error = math.sqrt(1.0 / (12.0 * world.member.sum()) * 2.0)
    assert abs(auc(attack, world) - 0.5) < 4.5 * error


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.name)
def test_a_targets_own_membership_never_enters_its_scores(attack, worlds):
    world = worlds.gaussian(models=12, records=20)
    turned = world.member.copy()
    turned[3] = ~turned[3]
    other = Observations(
        confidences=world.confidences, losses=world.losses, correct=world.correct, member=turned
    )
    assert np.allclose(attack.scores(other)[3], attack.scores(world)[3])


def test_others_are_all_but_oneself():
    rng = np.random.default_rng(0)
    values, which = rng.normal(5.0, 1.0, (200, 4)), rng.random((200, 4)) < 0.6
    found = others(values, which)
    for model, record in [(0, 0), (7, 3), (29, 1)]:
        kept = which[:, record].copy()
        kept[model] = False
        assert found.mean[model, record] == pytest.approx(values[kept, record].mean())
        assert found.spread[model, record] == pytest.approx(values[kept, record].std(ddof=1))


def test_log_odds_do_not_round_to_certainty():
    logits = np.array([[[60.0, 0.0, 0.0]], [[-800.0, 0.0, 800.0]]])
    assert log_odds(logits, np.array([0])).ravel() == pytest.approx([60.0 - math.log(2.0), -1600.0])
    both = np.concatenate([logits, logits], axis=1)
    made = observations_of(both, np.array([0, 2]), np.eye(2, dtype=bool), keep_probabilities=True)
    assert made.losses[1].tolist() == pytest.approx([1600.0, 0.0])
    assert made.correct.tolist() == [[True, False], [False, True]]
    assert made.probabilities.sum(axis=2) == pytest.approx(np.ones((2, 2)))


def test_bad_observations_are_refused_in_one_line(worlds):
    member = worlds.halves(np.random.default_rng(0), 4, 6)
    right = worlds.seen(np.zeros((4, 6)), member)
    with pytest.raises(ValueError, match=r"confidences must be one number a model and record.*24 NaN"):
        replace(right, confidences=np.full((4, 6), np.nan))
    with pytest.raises(ValueError, match=r"losses must be .* found shape \(3,\)"):
        replace(right, losses=np.zeros(3))
    with pytest.raises(ValueError, match="two models and two records"):
        worlds.seen(np.zeros((1, 6)), member[:1])


# ---------------------------------------------------------------- curves


def test_a_curve_by_hand():
    """Scores 4 3 3 2 1, members at 4, one of the 3s, and 1: ties are stepped over together."""
    scores = np.array([[4.0, 3.0, 3.0], [2.0, 1.0, 0.0]])
    member = np.array([[True, True, False], [False, True, False]])
    curve = membership_curve(scores, member, draws=10)
    assert curve.fpr.tolist() == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert curve.tpr.tolist() == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert curve.auc.value == pytest.approx(stats.mannwhitneyu([4, 3, 1], [3, 2, 0]).statistic / 9)
    assert curve.advantage.value == pytest.approx(1 / 3)
    assert not curve.at[0].resolved


def test_a_rate_is_never_read_between_two_thresholds(worlds):
    """All records tie: at 1% of false positives nobody may be called a member."""
    member = worlds.halves(np.random.default_rng(0), 10, 100)
    curve = membership_curve(np.zeros((10, 100)), member, draws=10)
    assert [rate.value for rate in curve.at] == [0.0, 0.0]
    assert curve.auc.value == pytest.approx(0.5)


def test_intervals_hold_the_truth(worlds):
    """The area's interval over 40 worlds; nominal 95%, at least 34 of 40 (false alarm below 1e-3)."""
    truth = stats.norm.cdf(1.0 / math.sqrt(2.0))
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        member = worlds.halves(rng, 30, 60)
        curve = membership_curve(rng.normal(size=member.shape) + member, member, draws=60, seed=seed)
        held += curve.auc.lower <= truth <= curve.auc.upper
    assert held >= 34


# ---------------------------------------------------------------- bounds


def test_a_claim_that_is_kept_exactly_is_not_refuted(worlds):
    """Randomised response attains its epsilon; at most 5 of 40 worlds above (nominal 5%: chance 0.014).

    All of the bounds are above 0: a bound that cannot show anything would pass for nothing.
    """
    shown = [
        epsilon_from_targets(
            worlds.response(1.0, models=128, records=100, seed=seed),
            LossThreshold(),
            delta=0.0,
            confidence=0.95,
        ).epsilon
        for seed in range(40)
    ]
    assert min(shown) > 0.0
    assert sum(epsilon > 1.0 for epsilon in shown) <= 5


def test_records_of_one_model_are_not_counted_as_independent(worlds):
    """Models tell of all their records or of none, which is exactly (0, 0.6): at most 5 of 40 above 0.

    Counting pairs of model and record as if they were independent refutes this true claim far too often.
    """
    wrong = naive = 0
    for seed in range(40):
        world = worlds.telling(0.6, seed=seed)
        bound = epsilon_from_targets(world, LossThreshold(), delta=0.6, confidence=0.95)
        wrong += bound.epsilon > 0.0
        judged = world.only(np.arange(64, 128))
        high = LossThreshold().scores(judged) > dict(bound.detail)["threshold"]
        pairs = Counts(
            true_positives=int(high[judged.member].sum()),
            present=int(judged.member.sum()),
            false_positives=int(high[~judged.member].sum()),
            absent=int((~judged.member).sum()),
        )
        naive += epsilon_from_counts(pairs, delta=0.6, confidence=0.95).epsilon > 0.0
    assert wrong <= 5
    assert naive >= 8


def test_a_claim_that_is_broken_is_refuted(worlds):
    world = worlds.response(2.5, models=128)
    report = attack_models(world, attacks=(LossThreshold(), *ALL), epsilon=1.0, delta=1e-5, draws=20)
    assert 1.0 < report.bound.epsilon < 2.5
    assert report.refuted
    assert report.document("world").verdict is Verdict.REFUTED
    assert dict(report.exceeding)["loss threshold"]


def test_curves_stay_below_what_is_permitted(worlds):
    world = worlds.response(1.0, models=64)
    report = attack_models(world, epsilon=1.2, draws=40)
    assert not report.refuted
    assert all(rates == () for _, rates in report.exceeding)
    document = report.document("world")
    assert document.verdict is Verdict.NOT_REFUTED
    assert document.permitted is not None
    assert [curve.name for curve in document.curves] == [attack.name for attack in ALL]
    assert report.table().splitlines()[1].startswith("LiRA online")


def test_without_a_claim_there_is_no_verdict(worlds):
    report = attack_models(worlds.gaussian(models=16), draws=10)
    assert report.document("world").verdict is Verdict.NO_CLAIM
    with pytest.raises(KeyError, match="LiRA online"):
        report.curve("nobody's")
