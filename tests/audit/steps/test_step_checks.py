"""The checks of a step: what is right passes at the stated rate, what was planted is found."""

import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.audit.steps import (
    SamplingClaim,
    StepClaim,
    UnusableStep,
    check_noise,
    check_sampler,
    check_sensitivity,
    check_step,
    draw_batches,
    draw_noise,
    hard_examples,
    ours,
    search,
)
from clifftop.audit.steps import noise as noise_module
from clifftop.audit.steps import sampler as sampler_module
from clifftop.audit.steps.findings import family, judged
from clifftop.criteria import cross_entropy
from clifftop.sampling import FixedOrder


def _bugs():
    spec = importlib.util.spec_from_file_location("step_bugs", Path(__file__).parent / "bugs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


step_bugs = _bugs()
CorrectStep, C, SIGMA = step_bugs.CorrectStep, step_bugs.C, step_bugs.SIGMA


# ---------------------------------------------------------------- the zoo


@pytest.mark.parametrize("bug", step_bugs.BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_is_found_by_its_check(bug):
    start = time.process_time()
    report = check_step(bug.plant(), batches=2000 if bug.caught_by.startswith("sampler") else 200)
    assert bug.caught_by in {check.name for check in report.findings}, str(report)
    assert not report.ok
    assert time.process_time() - start < 5


def test_the_correct_step_passes_every_check():
    report = check_step(CorrectStep())
    assert report.ok, str(report)
    assert not report.not_checked
    assert len({check.name for check in report.checks}) == len(report.checks) == 16
    assert {bug.caught_by for bug in step_bugs.BUGS} == {check.name for check in report.checks}


def test_exact_checks_never_alarm():
    """They have no luck in them but the search's own choices: 5 seeds, none may fail."""
    exact = [
        check for s in range(5) for check in check_step(CorrectStep(), seed=s).checks if check.p_value is None
    ]
    assert len(exact) == 5 * 7
    assert all(check.passed for check in exact)


def small_audit(step, seed, level):
    """The statistical checks with few draws: whether any failed."""
    each = level / (noise_module.CHECKS + sampler_module.CHECKS)
    checks = check_noise(draw_noise(step, seed=1000 * seed, steps=8), level=each)
    checks += check_sampler(draw_batches(step, step.claim.sampling, seed=2 * seed, steps=150), level=each)
    return {check.name for check in checks if not check.passed}


class NoiseOneTenthSmaller(CorrectStep):
    def noise(self, seed, size):
        return 0.9 * super().noise(seed, size)


def test_false_alarms_stay_within_the_level():
    """200 audits at level 0.2: more alarms than 99.9% of honest counts would refute the stated rate."""
    level, repetitions = 0.2, 200
    alarms = [small_audit(CorrectStep(), seed, level) for seed in range(repetitions)]
    count = sum(bool(found) for found in alarms)
    assert 0 < count <= stats.binom.ppf(0.999, repetitions, level)
    assert not any(small_audit(CorrectStep(), seed, 1e-4) for seed in range(20))
    # Negative control: the same few draws show noise that is a tenth too small.
    assert all("noise-scale" in small_audit(NoiseOneTenthSmaller(), seed, level) for seed in range(5))


# ---------------------------------------------------------------- what is no fault


class AutomaticClipping(CorrectStep):
    def clip(self, gradients, bound=C):
        norms = self.norms(gradients)
        weights = np.where(np.isfinite(norms), bound / (norms + 0.01), 0)
        return np.where(weights[:, None] > 0, gradients * weights[:, None], 0)


class WeightDecayAdded(CorrectStep):
    def total(self, indices):
        return super().total(indices) + 0.1


class SumReleased(CorrectStep):
    claim = replace(CorrectStep.claim, divisor=1.0)

    def divide(self, total, size):
        return total


class RealisedSizeKept(step_bugs.DividedByTheRealisedSize):
    """Dividing by the size is fine where neighbours have the same size, if the noise is divided, too."""

    claim = replace(CorrectStep.claim, divisor=None, relation=NeighboringRelation.ZERO_OUT, sampling=None)


class NeverEmpty(step_bugs.EmptyBatchRefused):
    """A step over a fixed order, which no empty batch ever reaches."""

    claim = RealisedSizeKept.claim
    divide = RealisedSizeKept.divide


class OneReplaced(CorrectStep):
    claim = replace(CorrectStep.claim, relation=NeighboringRelation.REPLACE_ONE)


@pytest.mark.parametrize(
    "step", [AutomaticClipping, WeightDecayAdded, SumReleased, RealisedSizeKept, NeverEmpty, OneReplaced]
)
def test_what_is_no_fault_is_not_found(step):
    report = check_step(step())
    assert report.ok, str(report)


class PerLayerReplaced(step_bugs.PerLayerAtC):
    claim = OneReplaced.claim


class SumClippedReplaced(step_bugs.SumClipped):
    claim = OneReplaced.claim


def test_replacing_one_may_change_twice_the_clip_norm():
    worst = search(OneReplaced(), seed=0)
    assert worst.limit == 2 * C
    assert 1.8 * C < worst.change <= 2 * C + 1e-6
    assert len(worst.batches[0]) == len(worst.batches[1])
    assert sum(a != b for a, b in zip(*worst.batches, strict=True)) == 1
    assert not check_sensitivity(PerLayerReplaced(), seed=0).passed
    # What a clipped sum can change by is twice its bound: within this claim, and not within the others.
    assert check_sensitivity(SumClippedReplaced(), seed=0).passed


def test_a_witness_shows_the_change_again():
    worst = search(step_bugs.SumClipped(), seed=0)
    one, other = (step_bugs.SumClipped().release(batch, noise=False, seed=5) for batch in worst.batches)
    assert len(worst.batches[1]) == len(worst.batches[0]) + 1
    assert np.linalg.norm(one - other) * step_bugs.DIVISOR == pytest.approx(worst.change)
    assert worst.change > 1.9 * C


def test_a_search_stops_in_time_with_what_it_has():
    short = search(CorrectStep(), seed=0, budget_seconds=0.0)
    assert short.pairs == 1
    assert short.pairs < search(CorrectStep(), seed=0).pairs


# ---------------------------------------------------------------- steps of torch


class LoopOfMyOwn:
    """A loop that a user could have: for each example a loss and its gradient; clip, add, noise, divide."""

    def __init__(self, model, *, hard=True, clip_norm=1.0, sigma=1.0, divisor=4.0):
        g = torch.Generator().manual_seed(0)
        x, y = torch.randn(12, 4, generator=g), torch.randint(0, 3, (12,), generator=g)
        (self.x,), (self.y,) = hard_examples([x], [y], of=1) if hard else ([x], [y])
        self.model, self.examples = model, len(self.x)
        self.claim = StepClaim(
            clip_norm=clip_norm,
            noise_multiplier=sigma,
            divisor=divisor,
            relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            parameters=tuple((name, p.numel()) for name, p in model.named_parameters()),
        )

    def losses(self, rows):
        return [cross_entropy(self.model(self.x[i : i + 1]), self.y[i : i + 1])[0] for i in rows]

    def release(self, indices, *, noise, seed):
        total = torch.zeros(self.claim.size)
        for loss in self.losses(list(indices)):
            gradient = torch.autograd.grad(loss, list(self.model.parameters()), retain_graph=True)
            flat = torch.cat([part.flatten() for part in gradient])
            if flat.norm().isfinite():
                total += flat * min(1.0, self.claim.clip_norm / (flat.norm().item() + 1e-12))
        if noise:
            scale = self.claim.noise_multiplier * self.claim.clip_norm
            total += scale * torch.randn(len(total), generator=torch.Generator().manual_seed(seed))
        return (total / self.claim.divisor).numpy()


class OneForwardForAll(LoopOfMyOwn):
    """The same with one forward pass, whose graph all gradients share."""

    def losses(self, rows):
        return cross_entropy(self.model(self.x[rows]), self.y[rows]) if rows else []


def model(*middle):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.Linear(8, 3))


def normalised():
    """Batch normalisation that takes a batch of one example."""
    return model(nn.Unflatten(1, (4, 2)), nn.BatchNorm1d(4), nn.Flatten())


def failed(report):
    return [check.name for check in report.findings]


def test_a_loop_of_ones_own_passes_and_says_what_was_not_checked():
    report = check_step(LoopOfMyOwn(model(nn.ReLU())), search_seconds=0.3)
    assert report.ok, str(report)
    assert report.not_checked == ("the sampler, since the claim names no Poisson sampling",)


def test_a_shared_graph_lets_one_nan_delete_everyone():
    """Zero times NaN is NaN: in a shared backward pass one example's NaN reaches all gradients."""
    assert check_step(OneForwardForAll(model(nn.ReLU()), hard=False), search_seconds=0.3).ok
    report = check_step(OneForwardForAll(model(nn.ReLU())))
    assert failed(report) == ["sensitivity", "linearity"]


def test_batch_normalisation_is_found_in_training_mode_and_not_in_evaluation_mode():
    assert check_step(OneForwardForAll(normalised().eval(), hard=False), search_seconds=0.3).ok
    report = check_step(OneForwardForAll(normalised(), hard=False))
    assert "linearity" in failed(report)


def test_a_step_that_raises_fails_the_checks_that_asked_it():
    report = check_step(OneForwardForAll(model(nn.BatchNorm1d(8)), hard=False), search_seconds=0.3)
    assert {"sensitivity", "linearity"} <= set(failed(report))
    assert "Expected more than 1 value per channel" in report.findings[0].found


def plan(relation=NeighboringRelation.ADD_OR_REMOVE_ONE, *, sampler=None, expected=4.0, sigma=1.5):
    return PrivacyPlan(
        sampler=sampler or Poisson(sampling_prob=1 / 8),
        clipping=Flat(clip_norm=C),
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=relation,
        expected_batch_size=expected,
    )


def own_step(some_plan, **options):
    g = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(32, 4, generator=g), torch.randint(0, 3, (32,), generator=g)
    return ours(some_plan, model(nn.Dropout(0.5), nn.Tanh()), cross_entropy, (inputs,), (targets,), **options)


@pytest.mark.parametrize("microbatch_size", [None, 3])
def test_clifftops_own_step_passes(microbatch_size):
    report = check_step(own_step(plan(), microbatch_size=microbatch_size), search_seconds=0.3)
    assert report.ok, str(report)
    assert not report.not_checked


def test_clifftops_own_step_in_a_fixed_order_passes():
    step = own_step(plan(NeighboringRelation.ZERO_OUT, sampler=FixedOrder(batch_size=4), expected=None))
    assert step.claim.divisor is None
    report = check_step(step, search_seconds=0.5)
    assert report.ok, str(report)
    assert report.not_checked == ("the sampler, since the claim names no Poisson sampling",)


def test_a_claim_that_is_stronger_than_clifftops_step_is_found():
    """The same step under claims that it does not keep."""
    step = own_step(plan())
    for changes, name in (
        ({"clip_norm": C / 1.1, "noise_multiplier": 1.1 * SIGMA}, "sensitivity"),
        ({"noise_multiplier": 1.1 * SIGMA}, "noise-scale"),
        ({"sampling": SamplingClaim(sampling_prob=0.1, num_examples=32)}, "sampler-rate"),
    ):
        step.claim = replace(own_step(plan()).claim, **changes)
        assert failed(check_step(step, search_seconds=0.1))[0] == name


def test_a_step_without_noise_claims_nothing():
    with pytest.raises(ValueError, match=r"noise_multiplier=0\.0"):
        own_step(plan(sigma=0.0))


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
        ({"noise_multiplier": 0.0}, "noise_multiplier=0.0"),
        ({"divisor": -1.0}, "divisor=-1.0"),
        ({"divisor": None}, "divisor=None with ADD_OR_REMOVE_ONE"),
        ({"parameters": ()}, r"parameters=\(\)"),
    ],
)
def test_a_claim_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CorrectStep.claim, **changes)


class TooShort(CorrectStep):
    def divide(self, total, size):
        return super().divide(total, size)[:-1]


def test_a_release_of_another_size_is_refused():
    with pytest.raises(UnusableStep, match=r"shape=\(263,\) for P=264"):
        check_step(TooShort())
    alone = CorrectStep()
    alone.examples = 1
    with pytest.raises(UnusableStep, match="examples=1"):
        check_step(alone)
    with pytest.raises(ValueError, match="level=0"):
        check_step(CorrectStep(), level=0)


def test_families_are_corrected_and_nan_is_no_pass():
    found = [family([0.5, 0.01, 0.9], str), family([0.02], lambda _: "alone")]
    check = judged("name", "must", found, level=0.05)
    assert check.p_value == pytest.approx(0.04)
    assert (check.passed, check.found) == (False, "alone")
    assert family([0.5, float("nan")], str).corrected == 0


class NotANumber(CorrectStep):
    def noise(self, seed, size):
        return np.full(step_bugs.P, np.inf if seed % 2 else np.nan)


def test_noise_that_is_not_a_number_passes_nothing():
    names = failed(check_step(NotANumber(), batches=200))
    assert {"noise-scale", "noise-mean", "noise-independent", "noise-shape"} <= set(names)


def test_float32_noise_is_no_grid():
    """Torch's own normals in single precision, as many as a large model has."""

    class Large(CorrectStep):
        claim = replace(CorrectStep.claim, parameters=tuple((f"w{i}", 2048) for i in range(4)))

        def release(self, indices, *, noise, seed):
            g = torch.Generator().manual_seed(seed)
            return (torch.randn(4 * 2048, generator=g) * (SIGMA * C / 4 if noise else 0)).numpy()

    checks = check_noise(draw_noise(Large(), seed=0, steps=32), level=1e-5)
    assert all(check.passed for check in checks), checks
    assert "of 131072 numbers" in checks[-1].found
