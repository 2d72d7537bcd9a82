"""Runs that are trained on whole batches: against a loop of plain torch, resumed, and beside private runs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from clifftop.batching import Examples, draw_batch
from clifftop.clipping import Flat, WholeBatch
from clifftop.criteria import cross_entropy
from clifftop.datasets import ArrayDataset
from clifftop.events import NeighboringRelation
from clifftop.lab import Factory, RunSpec, train_cohort
from clifftop.lab.spec import OptimizerSpec
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson

COUNT, STEPS, SIZE = 60, 7, 20.0


def rows(*, seed: int = 0) -> ArrayDataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COUNT + 20, 4)).astype(np.float32) + 3
    y = (x[:, 0] > 3).astype(np.int64)
    del seed
    return ArrayDataset(
        train_inputs=x[:COUNT], train_targets=y[:COUNT], test_inputs=x[COUNT:], test_targets=y[COUNT:]
    )


def normed(*, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def spec(model: str = "normed", *, seed: int = 1, lr: float = 0.5, clipping=None, **more) -> RunSpec:
    options = more.pop("options", {})
    made = RunSpec(
        model=Factory(target=f"{__name__}:{model}", options=options),
        data=Factory(target=f"{__name__}:rows"),
        plan=PrivacyPlan(
            sampler=Poisson(sampling_prob=SIZE / COUNT),
            clipping=WholeBatch() if clipping is None else clipping,
            noise=Gaussian(noise_multiplier=0.0),
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            expected_batch_size=SIZE,
        ),
        optimizer=OptimizerSpec(name="sgd", lr=lr, options={"momentum": 0.9}),
        steps=STEPS,
        evaluate_every=3,
        seed=seed,
        streams=Keyed(),
    )
    return replace(made, **more)


def last(specs, **more):
    *_, block = train_cohort(specs, keep_parameters=True, **more)
    return block


def by_hand(one: RunSpec) -> tuple[nn.Module, float]:
    """The same run as a loop of plain torch, and its test loss."""
    torch.manual_seed(one.seed)
    model, data = normed(), rows()
    optimizer = torch.optim.SGD(model.parameters(), lr=one.optimizer.lr, momentum=0.9)
    x, y = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_targets)
    examples, streams = Examples(inputs=(x[None],), targets=(y[None],)), Keyed().open([one.seed])
    for step in range(STEPS):
        batch = draw_batch(one.plan.sampler, examples, streams, step)
        mask = batch.mask[0]
        optimizer.zero_grad()
        losses = cross_entropy(model(batch.inputs[0][0][mask]), batch.targets[0][0][mask])
        (losses.sum() / SIZE).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(torch.from_numpy(data.test_inputs))
    return model, cross_entropy(output, torch.from_numpy(data.test_targets)).mean().item()


def test_runs_of_one_seed_equal_loops_of_plain_torch():
    """Two rates share their seed: each must have running statistics of its own."""
    specs = [spec(lr=0.5), spec(lr=0.05), spec(lr=0.5, seed=2)]
    block = last(specs)
    for r, one in enumerate(specs):
        model, loss = by_hand(one)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(block.parameters[name][r], parameter.detach().numpy(), atol=2e-5)
        assert block.metrics["loss"][1][r, -1] == pytest.approx(loss, rel=1e-5)
    losses = block.metrics["loss"][1][:, -1]
    assert len({round(float(x), 4) for x in losses}) == 3


def test_evaluation_uses_the_running_statistics():
    """Negative control: with those of the start, which fit rows around 3 badly, the loss is another."""
    one = spec()
    model, loss = by_hand(one)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_running_stats()
    data = rows()
    with torch.no_grad():
        output = model(torch.from_numpy(data.test_inputs))
    without = cross_entropy(output, torch.from_numpy(data.test_targets)).mean().item()
    assert abs(without - loss) > 0.05


def test_a_model_that_mixes_nothing_trains_as_a_baseline_does():
    whole = last([spec("plain"), spec("plain", lr=0.1)])
    seen = last([spec("plain", clipping=Flat(clip_norm=math.inf), lr=lr) for lr in (0.5, 0.1)])
    for name, value in whole.parameters.items():
        np.testing.assert_allclose(value, seen.parameters[name], rtol=0, atol=2e-6)
    np.testing.assert_allclose(whole.trace["loss"], seen.trace["loss"], rtol=1e-5)
    np.testing.assert_allclose(whole.trace["signal_norm"], seen.trace["signal_norm"], rtol=1e-4)
    assert np.isnan(whole.trace["norm_median"]).all()
    assert not np.isnan(seen.trace["norm_median"]).any()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_killed_and_resumed_at_any_step_is_bit_equal(dropout):
    specs = [spec(lr=lr, options={"dropout": dropout}) for lr in (0.5, 0.1)]
    whole = list(train_cohort(specs, checkpoint_seconds=0, keep_parameters=True))
    assert len(whole) == STEPS
    for block in (whole[0], whole[4]):
        rest = list(train_cohort(specs, state=block.state, checkpoint_seconds=0, keep_parameters=True))
        assert rest[-1].step == STEPS
        for name, value in whole[-1].parameters.items():
            assert np.array_equal(value, rest[-1].parameters[name])
        for name, (_, values) in whole[-1].metrics.items():
            assert np.array_equal(values, rest[-1].metrics[name][1])


def test_dropout_draws_follow_the_seed_and_nothing_else():
    torch.manual_seed(0)
    first = last([spec(options={"dropout": 0.5})]).parameters
    before = torch.get_rng_state()
    again = last([spec(options={"dropout": 0.5}), spec(seed=9, options={"dropout": 0.5})]).parameters
    assert torch.equal(before, torch.get_rng_state())
    for name, value in first.items():
        assert np.array_equal(value[0], again[name][0])
    assert not np.array_equal(again["0.weight"][0], again["0.weight"][1])


def test_a_run_that_diverges_leaves_the_others_and_their_statistics_alone():
    wild = spec("plain", lr=1e38)
    blocks = list(train_cohort([wild, spec("plain", lr=0.1)], checkpoint_seconds=0, keep_parameters=True))
    assert blocks[-1].diverged.tolist() == [True, False]
    alone = last([spec("plain", lr=0.1)])
    for name, value in alone.parameters.items():
        np.testing.assert_allclose(blocks[-1].parameters[name][1], value[0], atol=1e-7)
    rough = list(train_cohort([spec(lr=1e38), spec(lr=0.1)], checkpoint_seconds=0, keep_parameters=True))
    own = last([spec(lr=0.1)])
    assert rough[-1].metrics["loss"][1][1, -1] == pytest.approx(own.metrics["loss"][1][0, -1], rel=1e-6)


def test_small_batches_add_nothing_where_the_model_cannot_take_them():
    """One row is nothing to compare with, and no row is no batch; both count as a step."""
    small = spec().plan
    small = replace(small, sampler=Poisson(sampling_prob=0.01), expected_batch_size=0.6)
    block = last([spec(plan=small, steps=40, evaluate_every=40)])
    counts = np.isnan(block.trace["loss"][0]).sum()
    assert counts > 10
    assert all(np.isfinite(value).all() for value in block.parameters.values())


def test_each_layer_has_a_signal_of_its_own():
    block = last([spec()], per_layer=True)
    parts = [block.trace[f"signal_norm:{layer}"] for layer in ("0", "1", "4")]
    np.testing.assert_allclose(np.sqrt(sum(p**2 for p in parts)), block.trace["signal_norm"], rtol=1e-5)
    assert np.isnan(block.trace["clipping_bias:0"]).all()
