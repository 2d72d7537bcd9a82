"""Attacks on worlds of known leakage: the strong ones reach what can be reached, the weak ones do not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from clifftop.accounting import epsilon
from clifftop.accounting.views import PrivacyProfile, profile
from clifftop.audit.attacks import (
    ALL,
    CalibratedLoss,
    HeldOut,
    LiraOffline,
    LiraOnline,
    LossThreshold,
    Observations,
    RmiaOffline,
    RmiaOnline,
    ShadowClassifier,
    attack_models,
    curve_from_targets,
    epsilon_from_targets,
    log_odds,
    membership_curve,
    observations_of,
)
from clifftop.audit.attacks.others import others
from clifftop.audit.document import Verdict
from clifftop.audit.estimators import Counts
from clifftop.audit.estimators.thresholds import epsilon_from_counts
from clifftop.events import Gaussian, NeighboringRelation


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
    assert weak < auc(RmiaOffline(), world) < strong + 0.01
    assert weak < auc(RmiaOnline(), world) < strong + 0.01


def test_a_shadow_classifier_learns_what_is_common_to_all_records(worlds):
    """Here members are sure, whether rightly or wrongly: no threshold on the loss sees that."""
    rng = np.random.default_rng(0)
    member = worlds.halves(rng, 32, 200)
    world = worlds.seen(rng.choice([-1.0, 1.0], member.shape) * (1.0 + 2.0 * member), member)
    assert auc(ShadowClassifier(), world) > 0.99
    assert abs(auc(LossThreshold(), world) - 0.5) < 0.05
    # What differs from record to record it cannot see.
    known = worlds.gaussian(models=64)
    assert auc(ShadowClassifier(), known) < auc(LiraOnline(), known) - 0.1
    # Softmax outputs are used where they are kept.
    sharp = 1.0 + 2.0 * member
    odds = np.stack([sharp, -sharp, 0.0 * sharp], axis=-1)
    chances = np.exp(odds) / np.exp(odds).sum(axis=-1, keepdims=True)
    blind = worlds.seen(rng.normal(size=member.shape), member)
    assert auc(ShadowClassifier(), blind) < 0.6
    assert auc(ShadowClassifier(), replace(blind, probabilities=chances)) > 0.99


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
            HeldOut(
                seen=worlds.response(1.0, models=128, records=100, seed=seed), attacks=(LossThreshold(),)
            ),
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
    wrong = refuted = naive = 0
    for seed in range(40):
        world = worlds.telling(0.6, seed=seed)
        held = HeldOut(seen=world, attacks=(LossThreshold(),))
        bound = epsilon_from_targets(held, delta=0.6, confidence=0.95)
        wrong += bound.epsilon > 0.0
        refuted += not curve_from_targets(held, tells_of_all(0.6), level=0.05).passed
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
    assert refuted <= 5
    assert naive >= 8


def tells_of_all(delta):
    """The curve of what tells everything with chance delta, and nothing otherwise."""
    return PrivacyProfile(epsilons=(0.0,), lowers=(delta,), uppers=(delta,))


def test_a_claimed_curve_that_is_kept_exactly_is_not_refuted(worlds):
    """Each score's curve is just that of the claim: at most 3 of 30 worlds (nominal 2.5%: chance 7e-3).

    The claim of half of the shift is refuted most times, where the bound on epsilon shows a third of it.
    """
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    true = profile(Gaussian(1.0), neighboring_relation=relation)
    false = profile(Gaussian(2.0), neighboring_relation=relation)
    wrong = right = 0
    for seed in range(30):
        held = HeldOut(
            seen=worlds.gaussian(models=96, records=100, difficulty=0.0, seed=seed),
            attacks=(LossThreshold(),),
        )
        wrong += not curve_from_targets(held, true, level=0.025).passed
        right += not curve_from_targets(held, false, level=0.025).passed
    assert wrong <= 3
    assert right >= 25


def test_both_sides_of_a_curve_are_tested(worlds):
    """Others are recognised for sure, members never: only low scores give anybody away."""
    rng = np.random.default_rng(0)
    member = worlds.halves(rng, 96, 100)
    low = ~member & (rng.random(member.shape) < 0.2)
    held = HeldOut(seen=worlds.seen(np.where(low, -9.0, 0.0), member), attacks=(LossThreshold(),))
    claim = tells_of_all(0.05)
    assert not curve_from_targets(held, claim, level=0.025).passed
    assert curve_from_targets(held, tells_of_all(0.25), level=0.025).passed


def test_a_claim_that_is_broken_is_refuted(worlds):
    world = worlds.response(2.5, models=128)
    report = attack_models(
        world, attacks=(LossThreshold(), CalibratedLoss()), epsilon=1.0, delta=1e-5, draws=20
    )
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


def test_an_event_is_tested_as_a_whole(worlds):
    """At confidence 95% bound and curve have 2.5% each; the curve refutes what the bound lets pass."""
    world = worlds.gaussian(models=128, records=150)
    relation = NeighboringRelation.REPLACE_ONE
    event = Gaussian(4.0)  # a replaced record moves it by half a deviation, where the world moves by one
    claimed = epsilon(event, delta=1e-5, neighboring_relation=relation).upper
    report = attack_models(world, attacks=ALL[:2], event=event, epsilon=claimed, draws=10)
    assert report.bound.epsilon < claimed
    assert report.bound.confidence == 0.975
    assert report.refuted
    document = report.document("world")
    assert document.verdict is Verdict.REFUTED
    assert [check.name for check in document.checks] == ["claimed curve"]
    assert "trade-off curve" in document.reason


def test_without_a_claim_there_is_no_verdict(worlds):
    report = attack_models(worlds.gaussian(models=16), draws=10)
    assert report.document("world").verdict is Verdict.NO_CLAIM
    with pytest.raises(KeyError, match="LiRA online"):
        report.curve("nobody's")
