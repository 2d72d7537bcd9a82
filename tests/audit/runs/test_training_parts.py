"""The parts of the audit of trainings: claim, scores, limits, exact tests, learned attack, power."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clifftop.accounting.views import TradeOff, profile
from clifftop.audit.estimators.curves import approximate_dp_curve, gaussian_curve
from clifftop.audit.estimators.values import Counts
from clifftop.audit.runs import NoiseFamily, Observed, TrainingClaim, log_likelihood_ratios
from clifftop.audit.runs.certified import certified_curve
from clifftop.audit.runs.checks import central_counts, correlation_p_value, scale_p_value
from clifftop.audit.runs.family import FAMILY
from clifftop.audit.runs.learned import learn
from clifftop.audit.runs.micro import micro_audit
from clifftop.audit.runs.power import power_of
from clifftop.audit.runs.tally import Draws, Moments, Pairs, Tally, tally
from clifftop.events import NeighboringRelation

CLAIM = TrainingClaim(sampling_prob=0.128, noise_multiplier=1.974, steps=160, delta=1e-5)
CURVE = certified_curve(CLAIM)
TRADE_OFF = TradeOff(profile(CLAIM.event, neighboring_relation=CLAIM.relation))


def test_the_claim_is_what_the_accountant_says() -> None:
    assert CLAIM.epsilon.lower <= 3.99887 <= CLAIM.epsilon.upper + 1e-5
    assert "epsilon 3.999 at delta 1e-05: 160 steps, Poisson sampling at 0.128" in str(CLAIM)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling_prob": 1.5},
        {"noise_multiplier": 0.0},
        {"steps": 0},
        {"delta": 1.0},
        {"relation": NeighboringRelation.REPLACE_ONE},
    ],
)
def test_a_claim_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"found|must"):
        replace(CLAIM, **wrong)


def test_what_is_observed_must_fit() -> None:
    releases = np.zeros((2, 3, 4), dtype=np.float32)
    present = np.zeros((2, 4), dtype=np.bool_)
    with pytest.raises(ValueError, match="present must be"):
        Observed(releases=releases, present=present.T)
    with pytest.raises(ValueError, match="drawn must have"):
        Observed(releases=releases, present=present, drawn=np.zeros((2, 3, 5), dtype=np.bool_))
    releases[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        Observed(releases=releases, present=present)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(
    q=st.floats(1e-4, 1.0),
    noise=st.floats(0.05, 20.0),
    x=st.lists(st.floats(-30.0, 30.0, width=32), min_size=1, max_size=5),
)
def test_the_score_is_the_log_of_the_likelihood_ratio(q: float, noise: float, x: list[float]) -> None:
    claim = TrainingClaim(sampling_prob=q, noise_multiplier=noise, steps=len(x), delta=1e-5)
    releases = np.asarray(x, dtype=np.float32)[None, :, None]
    found = log_likelihood_ratios(releases, claim).item()
    exponents = (2.0 * np.asarray(x) - 1.0) / (2.0 * noise**2)
    none = math.log1p(-q) if q < 1 else -math.inf
    terms = np.logaddexp(none, math.log(q) + exponents)
    assert found == pytest.approx(terms.sum(), rel=1e-4, abs=1e-4 + 1e-6 * np.abs(exponents).sum())


@settings(derandomize=True, max_examples=60, deadline=None)
@given(rate=st.floats(0.0, 1.0))
def test_the_quick_curve_is_below_the_certified_one_and_as_high(rate: float) -> None:
    bound = TRADE_OFF.type_two_error(rate)
    assert bound.lower - 5e-4 <= CURVE(rate) <= bound.upper


def test_the_quick_curve_never_rises_and_fewer_points_only_lower_it() -> None:
    rates = np.concatenate(([0.0], np.geomspace(1e-9, 1.0, 400)))
    values = np.asarray([CURVE(float(rate)) for rate in rates])
    assert (np.diff(values) <= 0).all()
    coarse = certified_curve(CLAIM, points=2)
    assert all(coarse(rate) <= TRADE_OFF.type_two_error(rate).upper for rate in rates[::20].tolist())
    assert coarse(0.2) < CURVE(0.2) - 0.01


def _seen(rng: np.random.Generator, absent: int = 40_000, included: int = 5_000) -> Tally:
    """A training that does as `CLAIM` says, from the laws of its sums."""
    noise, q = CLAIM.noise_multiplier, CLAIM.sampling_prob
    mean = 1.0 + noise * rng.standard_normal() / math.sqrt(included)
    spread = noise**2 * rng.chisquare(included - 1)
    empty = np.zeros((0, 0), dtype=np.float32)
    return Tally(
        absent=Moments(count=absent, squares=noise**2 * rng.chisquare(absent)),
        included=Moments(count=included, total=mean * included, squares=spread + included * mean**2),
        draws=Draws(drawn=int(rng.binomial(2 * absent, q)), places=2 * absent, participations=(), batches=()),
        ties=(),
        lags=(),
        runs=Pairs(),
        sample=empty,
        first=empty,
        first_absent=empty.astype(np.bool_),
    )


def test_the_micro_audit_is_near_the_truth_and_seldom_above() -> None:
    """Nominal 5% of 60: more than 8 by chance in less than 1 of 100 (fixed seed)."""
    rng = np.random.default_rng(5)
    found = [micro_audit(_seen(rng), CLAIM, confidence=0.95) for _ in range(60)]
    shares = [micro.bound.epsilon / CLAIM.epsilon.lower for micro in found if micro is not None]
    assert len(shares) == 60
    assert sum(share > 1.0 for share in shares) <= 8
    assert 0.86 <= np.median(shares) <= 0.95
    assert max(shares) < 1.05


def test_the_micro_audit_needs_draws() -> None:
    rng = np.random.default_rng(0)
    assert micro_audit(replace(_seen(rng), draws=None), CLAIM, confidence=0.95) is None


def test_the_family_shows_what_the_counts_allow() -> None:
    rate, size = 0.2, 100_000
    found = {
        noise: NoiseFamily(CLAIM).bound([_expected(noise, rate, size)], confidence=0.95)
        for noise in (CLAIM.noise_multiplier, 0.8 * CLAIM.noise_multiplier)
    }
    for noise, bound in found.items():
        truth = replace(CLAIM, noise_multiplier=noise).epsilon.lower
        assert 0.97 * truth <= bound.epsilon <= truth
    nothing = Counts(true_positives=20, present=100, false_positives=20, absent=100)
    assert not NoiseFamily(CLAIM).bound([nothing], confidence=0.95).detected


def test_outside_its_family_a_bound_can_be_above_the_truth() -> None:
    """Randomised response lies below light members of the family and not above the one with its epsilon."""
    claim = TrainingClaim(sampling_prob=1.0, noise_multiplier=1.0, steps=1, delta=1e-5)
    curve = approximate_dp_curve(1.0, 0.0)
    rates = np.geomspace(1e-6, 0.5, 40).tolist()
    light, own = gaussian_curve(1 / 1000), gaussian_curve(1 / 3.73)
    assert replace(claim, noise_multiplier=3.73).epsilon.upper == pytest.approx(1.0, abs=0.01)
    assert all(curve(rate) < light(rate) for rate in rates)
    assert curve(0.27) < own(0.27)
    counts = Counts(true_positives=7311, present=10_000, false_positives=2689, absent=10_000)
    assert NoiseFamily(claim).bound([counts], confidence=0.95).epsilon > 5.0
    assert "is, or lies nowhere below," in FAMILY
    assert "with the training's epsilon" in FAMILY


@pytest.mark.parametrize("claim", [CLAIM, replace(CLAIM, sampling_prob=1.0, steps=1)])
def test_no_counts_show_more_than_the_detection_limit(claim: TrainingClaim) -> None:
    family = NoiseFamily(claim)
    poor, perfect = (
        Counts(true_positives=right, present=200, false_positives=200 - right, absent=200)
        for right in (130, 200)
    )
    shown = family.bound([perfect], confidence=0.95).epsilon
    assert shown <= family.bound([poor], confidence=0.95).detection_limit <= 1.25 * shown


def test_a_claim_of_hundreds_does_not_hide_what_is_shown() -> None:
    claim = TrainingClaim(sampling_prob=1.0, noise_multiplier=0.02, steps=1, delta=1e-5)
    assert claim.epsilon.lower > 1000.0
    perfect = Counts(true_positives=500, present=500, false_positives=0, absent=500)
    bound = NoiseFamily(claim).bound([perfect], confidence=0.95)
    assert 20.0 < bound.epsilon < 100.0


def test_no_noise_at_all_is_measured() -> None:
    seen = replace(_seen(np.random.default_rng(0)), absent=Moments(count=1000))
    micro = micro_audit(seen, CLAIM, confidence=0.95)
    assert micro is not None
    assert micro.noise_upper == 0.0
    assert micro.bound.epsilon > 1e5
    assert micro.bound.detection_limit == math.inf


def test_pairs_of_runs_share_no_second_number() -> None:
    """Runs 1 and 2 of each block, and the first run with that of each later block."""
    first, none = np.asarray([1.0, 10.0, 100.0], dtype=np.float32), np.zeros((3, 1), dtype=np.bool_)
    blocks = [first[:, None, None] * np.float32(factor) for factor in (1.0, 2.0, 3.0)]
    seen = [tally(Observed(releases=block, present=none)) for block in blocks]
    runs = (seen[0] + seen[1] + seen[2]).runs
    assert runs.count == 5
    assert runs.second == pytest.approx(2.0**2 + 3.0**2 + 100.0**2 * (1 + 4 + 9))
    assert runs.both == pytest.approx(1.0 * 2.0 + 1.0 * 3.0 + 1000.0 * (1 + 4 + 9))


def _expected(noise: float, rate: float, size: int) -> Counts:
    misses = certified_curve(replace(CLAIM, noise_multiplier=noise))(rate)
    return Counts(
        true_positives=round((1.0 - misses) * size),
        present=size,
        false_positives=round(rate * size),
        absent=size,
    )


def test_p_values_of_independent_numbers_are_uniform() -> None:
    """4000 correlations of 5 pairs: below 0.05 in 5%, within 4 standard errors (0.0138)."""
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((2, 4000, 5))
    values = [
        correlation_p_value(Pairs(count=5, first=x @ x, second=y @ y, both=x @ y))
        for x, y in zip(a, b, strict=True)
    ]
    assert np.mean(np.asarray(values) < 0.05) == pytest.approx(0.05, abs=0.014)
    assert correlation_p_value(Pairs(count=5, first=4.0, second=4.0, both=4.0)) == 0.0
    assert correlation_p_value(Pairs()) == 1.0


def test_less_noise_is_seen_and_more_is_not_held_against_it() -> None:
    count = 10_000
    values = {f: scale_p_value(Moments(count=count, squares=count * f**2), 1.0) for f in (0.95, 1.0, 1.1)}
    assert values[0.95] < 1e-9
    assert 0.4 < values[1.0] < 0.6
    assert values[1.1] > 0.999


def test_the_middle_of_a_binomial_law() -> None:
    low, high, mass = central_counts(160, 0.128)
    assert low <= 160 * 0.128 <= high
    assert 0.5 <= mass < 0.7
    assert central_counts(10, 1.0) == (10, 10, 1.0)


def test_blocks_add_up() -> None:
    rng = np.random.default_rng(3)
    releases = rng.standard_normal((4, 6, 8), dtype=np.float32)
    present, drawn = rng.random((4, 8)) < 0.5, rng.random((4, 6, 8)) < 0.3
    whole = Observed(releases=releases, present=present, drawn=drawn)
    parts = [
        Observed(releases=releases[r], present=present[r], drawn=drawn[r]) for r in (slice(2), slice(2, 4))
    ]
    one, two = tally(whole), tally(parts[0]) + tally(parts[1])
    noise = releases[np.broadcast_to(~present[:, None], releases.shape)]
    assert one.absent.squares == pytest.approx((noise.astype(float) ** 2).sum(), rel=1e-6)
    assert one.absent.count == two.absent.count == noise.size
    assert one.absent.squares == pytest.approx(two.absent.squares)
    assert one.included is not None
    assert two.included is not None
    assert one.included.total == pytest.approx(two.included.total)
    assert one.draws == two.draws
    assert one.draws is not None
    assert one.draws.drawn == drawn.sum()
    # The pair of runs 1 and 2 of the whole is the pair across the parts' border only by its first runs.
    assert [pairs.count for pairs in one.lags] == [pairs.count for pairs in two.lags]
    assert one.lags[2].both == pytest.approx(two.lags[2].both, rel=1e-5)


def test_noise_that_is_drawn_once_is_learned() -> None:
    """Scores of present and absent hardly overlap, where the likelihood ratio tells nothing of the kind."""
    rng = np.random.default_rng(1)
    present = rng.random(400) < 0.5
    x = 2.0 * rng.standard_normal((400, 1)) + (present[:, None] & (rng.random((400, 20)) < 0.3))
    scores = learn(x[:200].astype(np.float32), present[:200], x[200:].astype(np.float32))
    coins = present[200:]
    assert np.mean(scores[coins][:, None] > scores[~coins][None]) > 0.99


def test_what_it_takes_to_see_an_error() -> None:
    rows = power_of(CLAIM, level=1e-4)
    assert [row.missing for row in rows] == [0.05, 0.20, 0.50]
    assert rows[0].epsilon < rows[1].epsilon < rows[2].epsilon
    for smaller, larger in itertools.pairwise(rows):
        assert smaller.by_curve > larger.by_curve
        assert smaller.by_noise_scale >= larger.by_noise_scale
    # Nasr and others need far more to see an error in epsilon than the scale of the noise does.
    assert all(row.by_curve > 10 * row.by_noise_scale for row in rows)
    # The research notes' 90%-power figure for 5% at one level 1e-3 is 3708 releases, over 80 a canary-run.
    assert power_of(CLAIM, level=1e-3)[0].by_noise_scale == pytest.approx(2 * 3708 / 160, rel=0.1)
    assert "enough for noise scale" in rows[0].sentence(1000)


@pytest.mark.parametrize("steps", [1, 10, 160])
def test_the_noise_scale_sees_an_error_as_often_as_is_told(steps: int) -> None:
    """A canary-run is absent by a fair coin: with few of them there may be no noise alone to look at."""
    level = 1e-4
    for row in power_of(replace(CLAIM, sampling_prob=1.0, noise_multiplier=20.0, steps=steps), level=level):
        runs = int(row.by_noise_scale)
        absent = np.arange(1, runs + 1)
        least = stats.chi2.ppf(level, absent * steps) / (1.0 - row.missing) ** 2
        chance = stats.binom.pmf(absent, runs, 0.5) @ stats.chi2.cdf(least, absent * steps)
        assert 0.89 <= chance <= 0.95
