"""Canaries that are rows: they go through forward pass, backward pass and clipping of a real training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from clifftop import Automatic, Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, cross_entropy
from clifftop.audit.one_run import InputCanaries, MislabelledRecords, OneRunAudit, mislabelled
from clifftop.private_gradient import clipped_sum

CANARIES, STEPS = 40, 10


def plan(noise_multiplier, *, clipping=None):
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.5),
        clipping=Flat(clip_norm=0.5) if clipping is None else clipping,
        noise=Gaussian(noise_multiplier=noise_multiplier),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=42.0,
    )


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def data(n=64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def training(noise_multiplier, **options):
    x, y = data()
    return InputCanaries(
        plan=plan(noise_multiplier), module=module(), layer="0", criterion=cross_entropy, inputs=x, targets=y,
        num_canaries=CANARIES, steps=STEPS, **options,
    )  # fmt: skip


COINS = np.arange(CANARIES) % 2 == 0


def test_nearly_all_of_a_canary_is_on_its_own_axis():
    """With hardly any noise a release is the share of a canary that was drawn, else 0."""
    seen = training(1e-3).releases(COINS, seed=5)
    assert seen.shape == (STEPS, CANARIES)
    assert np.abs(seen[:, ~COINS]).max() < 0.01
    drawn = seen[:, COINS] > 0.5
    assert 0.4 < drawn.mean() < 0.6
    shares = seen[:, COINS][drawn]
    assert shares.min() > 0.9
    assert shares.max() < 1.004  # noise of 0.001; clipping lets no more through


def test_noise_along_a_canary_has_the_plan_s_scale():
    """200 releases without a canary: five standard errors, false-alarm probability below 1e-6."""
    seen = training(2.0).releases(COINS, seed=6)[:, ~COINS]
    assert seen.std() == pytest.approx(2.0, abs=5 * 2.0 / np.sqrt(2 * seen.size))


def double(*args, **options):
    """A sensitivity of ten clip norms: the sum is added up ten times."""
    summed = clipped_sum(*args, **options)
    value = {name: 10.0 * v for name, v in summed.clipped.value.items()}
    return replace(summed, clipped=replace(summed.clipped, value=value))


@pytest.mark.parametrize(("summing", "ok"), [(None, True), (double, False)])
def test_a_broken_sensitivity_is_refuted_for_any_mechanism(summing, ok):
    audit = OneRunAudit.planned(training(4.0, summing=summing), coins_seed=1)
    (check,) = audit.checks(audit.training.scores(audit.coins, seed=2))
    assert check.name == "claimed curve, f-DP"
    assert check.passed == ok


def test_the_black_box_sees_a_training_without_privacy_only():
    """Losses of the final model: nearly all coins are told without noise, about half with much of it."""
    labels = torch.arange(44) % 3
    wrong = mislabelled(labels, num_classes=3, seed=0)
    assert not bool((wrong == labels).any())
    right = []
    for noise_multiplier in (1e-3, 50.0):
        box = MislabelledRecords(
            plan=plan(noise_multiplier), module=nn.Linear(44, 3), criterion=cross_entropy,
            inputs=torch.eye(44)[:4], targets=labels[:4], canary_inputs=torch.eye(44)[4:],
            canary_targets=wrong[4:], steps=30, lr=20.0,
        )  # fmt: skip
        scores = box.scores(COINS, seed=3)
        right.append(((scores > np.median(scores)) == COINS).mean())
    assert box.num_canaries == CANARIES
    assert box.claim.steps == 30
    assert right[0] > 0.9
    assert 0.2 < right[1] < 0.8  # 40 fair coins: false-alarm probability 1e-4


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"layer": "1"}, "found 1=Tanh"),
        ({"layer": "2"}, "rows of 4 features"),
        ({"plan": plan(1.0, clipping=Automatic(clip_norm=1.0, stability=0.01))}, "use Flat"),
        ({"plan": plan(0.0)}, "must claim a Poisson-sampled Gaussian"),
    ],
)
def test_refuses_what_it_cannot_score(change, found):
    with pytest.raises(ValueError, match=found):
        replace(training(1.0), **change)
