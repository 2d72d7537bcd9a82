"""Runs one after another give what all at once give, and each what it gives alone, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from clifftop.clipping import Automatic, Flat, PerLayer
from clifftop.criteria import accuracy, cross_entropy
from clifftop.events import NeighboringRelation
from clifftop.flow import Batch
from clifftop.gradients import PerExampleLoss, TapeEngine
from clifftop.gradients.base import trainable_parameters
from clifftop.gradients.chain import slices
from clifftop.lab.by_run import ByRun
from clifftop.lab.evaluate import evaluate
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.sampling import Poisson


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Tanh(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(36, 3)
    )  # fmt: skip


class Residual(nn.Module):
    """No chain: its input goes two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.last = nn.GroupNorm(2, 4), nn.Linear(4, 3)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return self.last((hidden + self.second(self.norm(hidden))).mean((2, 3)))


def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual()


def dropped() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(50, 3))


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(49, 8), nn.ReLU(), nn.Linear(8, 3))


def plans(clipping=Flat, runs=3):
    return [
        PrivacyPlan(
            sampler=Poisson(sampling_prob=0.1),
            clipping=clipping(clip_norm=0.3 + 0.2 * r),
            noise=Gaussian(noise_multiplier=0.5 + r),
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            expected_batch_size=50.0,
        )
        for r in range(runs)
    ]


def step(model, plans, summing, rows=None, *, x=None, diagnose=True):
    """A step of some of the runs, whose parameters differ and whose batch is one."""
    rows = list(range(len(plans))) if rows is None else rows
    rng = torch.Generator().manual_seed(1)
    scales = [1 + 0.1 * torch.randn((), generator=rng) for _ in plans]
    params = {n: torch.stack([p * scales[r] for r in rows]) for n, p in trainable_parameters(model).items()}
    images = torch.randn(60, 1, 7, 7, generator=rng) if x is None else x
    targets = torch.randint(3, (len(images),), generator=rng)
    mask = torch.ones(len(rows), len(images), dtype=torch.bool)
    mask[:, -3:] = False
    batch = Batch(
        inputs=(images.expand(len(rows), *images.shape),),
        targets=(targets.expand(len(rows), -1),),
        mask=mask,
    )
    own = [plans[r] for r in rows]
    return private_gradient(
        plan=own[0],
        engine=TapeEngine(),
        loss=PerExampleLoss(module=model, criterion=cross_entropy),
        params=params,
        batch=batch,
        state=initial_state(own, next(iter(params.values()))),
        streams=Keyed().open([0] * len(rows)).at(0),
        diagnose=diagnose,
        per_layer=True,
        summing=summing,
    )


@pytest.mark.parametrize("slice_size", [1000, 13])
@pytest.mark.parametrize("clipping", [Flat, Automatic, PerLayer])
@pytest.mark.parametrize("build", [cnn, residual])
def test_runs_one_by_one_equal_all_at_once(build, clipping, slice_size: int):
    model = build()
    noisy, _, record = step(model, plans(clipping), ByRun(slice_size=slice_size))
    wanted, _, wanted_record = step(model, plans(clipping), None)
    for name, value in noisy.value.items():
        torch.testing.assert_close(value, wanted.value[name], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(noisy.noise_std, wanted.noise_std)
    for name, value in record.numbers().items():
        torch.testing.assert_close(value, wanted_record.numbers()[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [cnn, residual])
def test_each_run_is_bit_for_bit_what_it_is_alone(build):
    model = build()
    together = step(model, plans(), ByRun(slice_size=20))[0].value
    for r in range(3):
        alone = step(model, plans(), ByRun(slice_size=20), [r])[0].value
        for name, value in alone.items():
            assert torch.equal(value[0], together[name][r])


def test_examples_that_are_not_finite_count_as_zero():
    model = cnn()
    x = torch.randn(60, 1, 7, 7, generator=torch.Generator().manual_seed(5))
    x[4], x[30, 0, 0, 0] = torch.nan, torch.inf
    for summing in (ByRun(slice_size=16), None):
        noisy, _, record = step(model, plans(), summing, x=x)
        assert record.num_nonfinite.tolist() == [2, 2, 2]
        assert all(torch.isfinite(v).all() for v in noisy.value.values())
        assert torch.isfinite(record.clipping_bias).all()


def test_without_diagnosis_the_sum_is_the_same():
    model = cnn()
    noisy, _, record = step(model, plans(), ByRun(), diagnose=False)
    assert record is None
    for name, value in step(model, plans(), ByRun())[0].value.items():
        torch.testing.assert_close(noisy.value[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("build", [mlp, dropped])
def test_models_without_convolutions_or_with_random_draws_go_the_way_they_went(build):
    model = build()
    found, wanted = (step(model, plans(), summing)[0].value for summing in (ByRun(), None))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_size_of_a_slice_follows_what_an_example_holds(monkeypatch):
    monkeypatch.setattr("clifftop.lab.by_run._SLICE_BYTES", 50_000)
    sizes: list[int] = []
    monkeypatch.setattr(
        "clifftop.lab.by_run.slices", lambda size, most: sizes.append(most) or slices(size, most)
    )
    few = step(cnn(), plans(), ByRun())[0].value
    assert 1 <= sizes[0] < 60
    for name, value in step(cnn(), plans(), ByRun(slice_size=512))[0].value.items():
        torch.testing.assert_close(few[name], value, rtol=1e-4, atol=1e-6)


def test_a_batch_of_padding_alone_is_a_sum_of_nothing():
    model, summing = cnn(), ByRun()
    params = {n: p[None] for n, p in trainable_parameters(model).items()}
    loss = PerExampleLoss(module=model, criterion=cross_entropy)
    batch = Batch(
        inputs=(torch.full((1, 8, 1, 7, 7), torch.nan),),
        targets=(torch.zeros(1, 8, dtype=torch.int64),),
        mask=torch.zeros(1, 8, dtype=torch.bool),
    )
    assert not summing.takes(loss, params, batch)
    (plan,) = plans(runs=1)
    summed = summing(
        plan, TapeEngine(), loss, params, batch, initial_state([plan], params["0.weight"]),
        Keyed().open([0]).at(0), diagnose=True, microbatch_size=None,
    )  # fmt: skip
    assert all(not v.any() for v in summed.clipped.value.values())


@pytest.mark.parametrize("build", [cnn, mlp])
def test_evaluation_is_the_modules_own(build):
    model = build()
    params = {n: torch.stack([p, 2 * p]) for n, p in trainable_parameters(model).items()}
    x, y = torch.randn(700, 1, 7, 7), torch.randint(3, (700,))
    found = evaluate(
        model,
        {"loss": cross_entropy, "accuracy": accuracy},
        params,
        {},
        (x.expand(2, *x.shape),),
        (y.expand(2, -1),),
    )
    for r in range(2):
        with torch.no_grad():
            logits = torch.func.functional_call(model, {n: p[r] for n, p in params.items()}, (x,))
        assert found["loss"][r].item() == pytest.approx(cross_entropy(logits, y).mean().item(), rel=1e-5)
        assert found["accuracy"][r].item() == pytest.approx(accuracy(logits, y).mean().item(), abs=2 / 700)


def test_a_clipping_rules_state_is_taken_run_by_run():
    """The control: with the first run's clip norm for all, the others' sums are other ones."""
    model, own = cnn(), plans()
    same = [replace(plan, clipping=own[0].clipping) for plan in own]
    found, others = (step(model, p, ByRun())[0].value["4.weight"] for p in (own, same))
    assert torch.equal(found[0], others[0])
    assert not torch.allclose(found[2], others[2], rtol=1e-2)
