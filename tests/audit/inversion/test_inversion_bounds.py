"""What holds for every attack, and what holds to first order."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from clifftop.audit.inversion import (
    CannotInvert,
    ClosedForm,
    Dlg,
    Identification,
    aligned,
    cosine,
    hit_probability,
    influence,
    nearest,
    one_step_plan,
    peak_signal_to_noise,
    reconstruction_bound,
    release_each,
)
from clifftop.events import Gaussian, NeighboringRelation, NonPrivate, PoissonSampled, SelfComposed

RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE
Y = torch.tensor([3])
QUIET = one_step_plan(clip_norm=0.5, noise_multiplier=0.0)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("kappa", [1e-4, 0.01, 0.5])
def test_the_gaussian_bound_is_the_formula(sigma, kappa):
    exact = stats.norm.cdf(stats.norm.ppf(kappa) + 1 / sigma)
    bound = reconstruction_bound(Gaussian(sigma), hit_probability=kappa, neighboring_relation=RELATION)
    assert exact <= bound <= exact * (1 + 2e-3)


def test_the_bound_follows_the_event():
    def bound(event, kappa=0.01):
        return reconstruction_bound(event, hit_probability=kappa, neighboring_relation=RELATION)

    assert bound(NonPrivate()) == 1
    assert bound(Gaussian(1.0), kappa=0.0) == pytest.approx(0, abs=1e-9)
    assert 0.01 < bound(PoissonSampled(0.1, Gaussian(1.0))) < bound(Gaussian(1.0))
    training = SelfComposed(PoissonSampled(0.1, Gaussian(1.0)), 50)
    assert bound(PoissonSampled(0.1, Gaussian(1.0))) < bound(training) < 1


@pytest.mark.parametrize("candidates", [2, 20])
def test_the_best_attack_on_the_worst_case_comes_near_and_never_above(candidates):
    """Orthogonal gradients of the clip norm: the likeliest candidate is the largest number."""
    rng = np.random.default_rng(0)
    trials, sigma = 20_000, 0.7
    scores = rng.normal(size=(trials, candidates)) * sigma
    scores[:, 0] += 1
    hits = int((scores.argmax(1) == 0).sum())
    found = Identification(successes=hits, trials=trials, candidates=candidates, confidence=0.95)
    bound = reconstruction_bound(
        Gaussian(sigma), hit_probability=1 / candidates, neighboring_relation=RELATION
    )
    # False alarm 1e-6, by Clopper and Pearson.
    assert not found.exceeds(bound, tail=1e-6)
    assert found.rate > 0.75 * bound
    # The control: a step that claims twice its noise has shown too much.
    claimed = reconstruction_bound(
        Gaussian(2 * sigma), hit_probability=1 / candidates, neighboring_relation=RELATION
    )
    assert found.exceeds(claimed, tail=1e-6)


def test_no_guess_hits_more_of_the_pool():
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(40, 2))
    for radius in (0.0, 0.3, 1.0, 9.0):
        guesses = rng.normal(size=(500, 1, 2))
        hits = (np.linalg.norm(guesses - pool, axis=2) <= radius).mean(axis=1).max()
        assert hits <= hit_probability(pool, radius=radius)
    assert hit_probability(pool, radius=0.0) == 1 / 40
    assert hit_probability(pool, radius=9.0) == 1
    with pytest.raises(ValueError, match="radius=-1"):
        hit_probability(pool, radius=-1)


def test_epsilon_of_identification_stays_below_the_truth():
    """Randomised response over n values at epsilon 2 attains the bound; 300 repetitions of 95%."""
    n, epsilon, trials = 10, 2.0, 200
    truth = math.exp(epsilon) / (math.exp(epsilon) + n - 1)
    hits = np.random.default_rng(0).binomial(trials, truth, size=300)
    bounds = [
        Identification(successes=int(h), trials=trials, candidates=n, confidence=0.95).epsilon(delta=0.0)
        for h in hits
    ]
    wrong = sum(bound.epsilon > math.log(n * truth) for bound in bounds)
    # At most 5% are too high on average; 28 of 300 has a chance below 1e-3 at that.
    assert wrong < 28
    assert np.mean([bound.epsilon for bound in bounds]) > 0.8 * math.log(n * truth)
    assert all(bound.epsilon <= epsilon for bound in bounds if bound.epsilon <= math.log(n * truth))


def test_nothing_shown_is_below_the_detection_limit():
    blind = Identification(successes=2, trials=200, candidates=100, confidence=0.95)
    shown = blind.epsilon(delta=1e-5)
    assert blind.is_at_chance
    assert not shown.detected
    assert shown.detection_limit == pytest.approx(math.log(100 * (0.05 ** (1 / 200) - 1e-5)), rel=1e-6)
    sure = Identification(successes=200, trials=200, candidates=100, confidence=0.95)
    assert not sure.is_at_chance
    assert sure.epsilon(delta=1e-5).epsilon == shown.detection_limit
    with pytest.raises(ValueError, match="found 1=1 candidates=0"):
        Identification(successes=1, trials=2, candidates=0, confidence=0.95)


@pytest.fixture(scope="module")
def local(mlp, digit):
    return influence(mlp, digit, Y, QUIET)


def test_influence_is_the_jacobian(mlp, digit, local):
    step = torch.zeros_like(digit)
    step[0, 0, 3, 4] = 1e-5
    there, back = (
        torch.cat([value.flatten() for value in mlp.gradients(digit + sign * step, Y, QUIET).values()])
        for sign in (1, -1)
    )
    torch.testing.assert_close(local.jacobian[:, 28], (there - back).detach() / 2e-5, rtol=1e-6, atol=1e-9)
    assert local.rank == 64


def test_matching_reaches_the_least_error_of_unbiased_estimators(mlp, digit, local):
    plan = one_step_plan(clip_norm=0.5, noise_multiplier=1e-3)
    releases = release_each(mlp, digit.expand(30, 1, 8, 8), Y.expand(30), plan=plan, seed=0)
    least = local.mean_squared_error(noise_std=releases[0].noise_std)
    simple = [ClosedForm().reconstruct(one, mlp, labels=Y).inputs - digit for one in releases]
    # 30 times 64 squared errors: the mean is within 15% of its expectation (4 standard errors).
    assert torch.cat(simple).square().mean() > 0.85 * least
    clean = release_each(mlp, digit, Y, plan=QUIET, seed=0)[0]
    moves, shifts = [], []
    for one in releases[:2]:
        matched = Dlg(restarts=1, max_iterations=40, tolerance=0.0).reconstruct(one, mlp, labels=Y)
        moves.append((matched.inputs - digit).flatten())
        noise = {name: value - clean.gradient[name] for name, value in one.gradient.items()}
        shifts.append(local.shift(noise))
    torch.testing.assert_close(torch.stack(moves), torch.stack(shifts), rtol=0.05, atol=2e-4)
    expected = torch.stack(shifts).square().mean()
    assert 0.5 * least < expected < 2 * least


def test_a_hidden_direction_has_no_unbiased_estimator(attacked, digit):
    model = attacked(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 3), num_classes=3)
    model.module[1].requires_grad_(False)
    plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.1)
    local = influence(model, digit, torch.tensor([1]), plan)
    assert local.rank <= 4
    assert local.mean_squared_error(noise_std=0.1) == math.inf
    assert local.mean_squared_error(noise_std=0.0) == 0
    with pytest.raises(CannotInvert, match="of one example, found 2"):
        influence(model, digit.expand(2, 1, 8, 8), torch.tensor([1, 1]), plan)


def test_a_direction_that_hardly_shows_is_not_taken_for_hidden(attacked, digit):
    """Its share is a ten-millionth, and its square would be lost in the rounding of J^T J."""
    model = attacked(nn.Flatten(), nn.Linear(64, 64, bias=False), nn.Linear(64, 3), num_classes=3)
    with torch.no_grad():
        model.module[1].weight.copy_(torch.eye(64)).mul_(torch.where(torch.arange(64) == 5, 1e-7, 1.0))
    model.module[1].requires_grad_(False)
    local = influence(model, digit, torch.tensor([1]), one_step_plan(clip_norm=1.0, noise_multiplier=0.1))
    assert local.rank == 64
    exact = torch.linalg.pinv(local.jacobian, rtol=1e-12).square().sum().item() / 64
    assert local.mean_squared_error(noise_std=0.1) == pytest.approx(0.01 * exact, rel=1e-6)


def test_measures():
    truth = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    pool = np.asarray([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    choices = np.asarray([[2, 0], [1, 2]])
    assert nearest(truth * 0.9, pool, choices).tolist() == [0, 1]
    assert nearest(np.asarray([[np.inf, np.inf], [np.nan, 0.0]]), pool, choices).tolist() == [2, 1]
    assert aligned(truth[::-1], truth).tolist() == [1, 0]
    assert cosine(-truth, truth).tolist() == [-1, -1]
    assert peak_signal_to_noise([0.0], data_range=1.0).tolist() == [math.inf]
