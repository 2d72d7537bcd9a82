"""What is attacked is what a step releases, and the attacker's model of it is exact."""

import math

import pytest
import torch
from torch import nn

from clifftop.audit.inversion import AttackedModel, one_step_plan, release, release_each
from clifftop.clipping import Automatic, Flat, PerLayer, Unclipped
from clifftop.criteria import cross_entropy, squared_error
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson

Y = torch.tensor([0, 3, 9])
RULES = {
    "flat": Flat(clip_norm=0.5),
    "wide": Flat(clip_norm=1e3),
    "infinite": Flat(clip_norm=math.inf),
    "unclipped": Unclipped(noise_scale=1.0),
    "automatic": Automatic(clip_norm=0.5),
    "per layer": PerLayer(clip_norm=0.4),
}


def plan_of(clipping, *, sigma=0.0):
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=1.0),
        clipping=clipping,
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=3,
    )


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_attacker_computes_what_the_step_releases(mlp, digits, rule):
    plan = plan_of(rule)
    released = release(mlp, digits[:3], Y, plan=plan, seed=0)
    computed = mlp.gradients(digits[:3], Y, plan)
    assert released.size == 3
    assert released.noise_std == 0
    for name, value in released.gradient.items():
        torch.testing.assert_close(computed[name].detach(), value, rtol=1e-9, atol=1e-12)


def test_its_gradient_can_be_derived(mlp, digits):
    inputs = digits[:1].clone().requires_grad_()
    plan = one_step_plan(clip_norm=0.5, noise_multiplier=0.0)
    names = [name for name, _ in mlp.module.named_parameters()]

    def released(at):
        grads = mlp.gradients(at, Y[:1], plan)
        return tuple(grads[name] for name in names)

    assert torch.autograd.gradcheck(lambda at: released(at)[3], (inputs,))


def test_soft_labels_are_an_expectation(mlp, digits):
    plan = one_step_plan(clip_norm=math.inf, noise_multiplier=0.0)
    hard = mlp.gradients(digits[:1], Y[1:2], plan)
    soft = mlp.gradients(digits[:1], nn.functional.one_hot(Y[1:2], 10).double(), plan)
    for name, value in hard.items():
        torch.testing.assert_close(soft[name], value)


def test_noise_has_the_size_that_is_named_and_its_own_seed(mlp, digits):
    plan = one_step_plan(clip_norm=2.0, noise_multiplier=0.5, batch_size=4)
    clean = release(
        mlp, digits[:1], Y[:1], plan=one_step_plan(clip_norm=2.0, noise_multiplier=0.0, batch_size=4), seed=0
    )
    one, same, other = (release(mlp, digits[:1], Y[:1], plan=plan, seed=seed).flat() for seed in (1, 1, 2))
    assert torch.equal(one, same)
    noise, others = one - clean.flat(), other - clean.flat()
    # 1,810 normals: the standard deviation is within 10% but for a chance below 1e-8.
    assert noise.std().item() == pytest.approx(0.25, rel=0.1)
    assert abs(torch.corrcoef(torch.stack([noise, others]))[0, 1]) < 0.15
    assert release(mlp, digits[:1], Y[:1], plan=plan, seed=1).noise_std == pytest.approx(0.25)


def test_each_by_itself(mlp, digits):
    plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.0)
    each = release_each(mlp, digits[:3], Y, plan=plan, seed=0)
    for row, found in enumerate(each):
        alone = release(mlp, digits[row : row + 1], Y[row : row + 1], plan=plan, seed=0)
        torch.testing.assert_close(found.flat(), alone.flat())
    noisy = release_each(
        mlp,
        digits[:1].repeat(2, 1, 1, 1),
        Y[:1].repeat(2),
        plan=one_step_plan(clip_norm=1.0, noise_multiplier=1.0),
        seed=0,
    )
    assert not torch.equal(noisy[0].flat(), noisy[1].flat())


def test_a_copy_without_dropout_is_attacked(digits):
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)).double()
    model = AttackedModel(module=module, criterion=cross_entropy, input_shape=(1, 8, 8), num_classes=3)
    assert module[1].training
    assert not model.module[1].training


def test_frozen_parameters_are_constants(digit):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    module[1].requires_grad_(False)
    model = AttackedModel(module=module, criterion=squared_error, input_shape=(1, 8, 8))
    plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.0)
    released = release(model, digit, torch.zeros(1).double(), plan=plan, seed=0)
    computed = model.gradients(digit, torch.zeros(1).double(), plan)
    assert set(released.gradient) == {"3.weight", "3.bias"}
    torch.testing.assert_close(computed["3.weight"].detach(), released.gradient["3.weight"])


def test_refusals(mlp, digits):
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\), found \(64,\)"):
        release(mlp, digits.flatten(1), Y, plan=one_step_plan(clip_norm=1.0, noise_multiplier=0.0), seed=0)
    frozen = nn.Linear(4, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="found none that is trained in Linear"):
        AttackedModel(module=frozen, criterion=cross_entropy, input_shape=(4,))
