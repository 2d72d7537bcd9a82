"""Chains: every kind of layer in every setting equal to the loop, ties and dropped rows included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clifftop.criteria import cross_entropy
from clifftop.flow import Batch
from clifftop.gradients import ChainEngine, GraphEngine, LoopEngine, PerExampleLoss
from clifftop.gradients.base import UnsupportedModule, flat_groups, trainable_parameters
from clifftop.gradients.chain import Shared, chain_of
from clifftop.gradients.rules import products
from clifftop.testing.gradients import Outcome, check_engine, check_refuses
from clifftop.testing.problem import Problem, image
from clifftop.testing.problems import BATCH_DEPENDENT, PROBLEMS, REFUSED

IMAGES = tuple(
    image(name, build)
    for name, build in {
        "strided": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh()),
        "kernel of no multiple of the stride": lambda: nn.Sequential(
            nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, (3, 2), stride=(2, 3), padding=(1, 0)), nn.ReLU()
        ),
        "stride beyond the kernel": lambda: nn.Sequential(
            nn.Conv2d(2, 4, 2, padding=1), nn.Conv2d(4, 3, 1, stride=3)
        ),
        "wide kernel": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 5, padding=2)),
        "no bias": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.Sigmoid(), nn.Conv2d(3, 1, 2)),
        "pools that overlap": lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.MaxPool2d(2, 1), nn.Tanh(), nn.MaxPool2d(3, 1)
        ),
        "pools apart": lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.MaxPool2d(1, 2), nn.MaxPool2d((2, 1))),
        "padded pool": lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.MaxPool2d(3, 2, padding=1)),
        "pool that rounds up": lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.MaxPool2d(2, 2, ceil_mode=True), nn.Conv2d(3, 2, 1)
        ),
        "layers by autograd": lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.GELU(), nn.AvgPool2d(2), nn.Sequential(nn.ELU(inplace=True)),
            nn.Conv2d(3, 2, 1),
        ),
        "whole network": lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Tanh(), nn.MaxPool2d(2, 1), nn.Flatten(),
            nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3),
        ),
        "large weight, few positions": lambda: nn.Sequential(
            nn.Conv2d(2, 30, 5), nn.Conv2d(30, 40, 2), nn.ReLU()
        ),
    }.items()
)  # fmt: skip
CHAINS = tuple(p for p in PROBLEMS if chain_of(p.build()) is not None)


def frozen_first() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(18, 2))
    model[0].requires_grad_(requires_grad=False)
    model[2].bias.requires_grad_(requires_grad=False)
    return model


@pytest.mark.parametrize("num_runs", [1, 3])
@pytest.mark.parametrize("problem", [*IMAGES, image("frozen", frozen_first)], ids=lambda p: p.name)
def test_every_kind_of_layer_equals_the_loop(problem: Problem, num_runs: int):
    assert chain_of(problem.build()) is not None
    assert check_engine(ChainEngine(), problem, num_runs=num_runs) is Outcome.EQUAL


@pytest.mark.parametrize("problem", CHAINS, ids=lambda p: p.name)
def test_the_suites_own_chains_equal_the_loop(problem: Problem):
    assert check_engine(ChainEngine(), problem, num_runs=2) is Outcome.EQUAL


def test_the_suite_has_chains():
    assert len(CHAINS) >= 10


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(2, 4, 3, groups=2)),
        nn.Sequential(nn.Conv2d(2, 4, 3, dilation=2)),
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(0.5)),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Flatten(0), nn.Linear(3, 2)),
        nn.Sequential(nn.MaxPool2d(2, return_indices=True)),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        nn.TransformerEncoderLayer(4, 1, 4),
    ],
    ids=lambda m: " ".join(repr(m).split()),
)
def test_what_is_no_chain_is_left_to_the_other_engine(model: nn.Module):
    assert chain_of(model) is None


def test_a_layer_that_is_used_twice_is_no_chain():
    layer = nn.Linear(3, 3)
    assert chain_of(nn.Sequential(layer, nn.ReLU(), layer)) is None
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert chain_of(tied) is None


def test_a_hook_or_a_forward_of_ones_own_is_no_chain():
    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda _m, _a, y: 2 * y)
    replaced = nn.Sequential(nn.Linear(2, 2))
    replaced[0].forward = torch.tanh
    assert chain_of(hooked) is None
    assert chain_of(replaced) is None


@pytest.mark.parametrize("problem", [*REFUSED, *BATCH_DEPENDENT], ids=lambda p: p.name)
def test_what_no_engine_can_make_private_is_refused(problem: Problem):
    """Three of these are chains whose criterion mixes the batch."""
    check_refuses(ChainEngine(), problem)


def step(engine, model, x, y, weights=None):
    params = {n: p[None] for n, p in trainable_parameters(model).items()}
    batch = Batch(inputs=(x[None],), targets=(y[None],), mask=torch.ones(1, len(x), dtype=torch.bool))
    loss = PerExampleLoss(module=model, criterion=cross_entropy)
    grads = engine(loss, params, batch, flat_groups(params))
    norms = grads.sq_norms()
    return grads.losses, norms, grads.weighted_sum(torch.rand_like(norms) if weights is None else weights)


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, stride=2, padding=1), nn.Tanh(), nn.MaxPool2d(2, 1),
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(8 * 9, 5),
    )  # fmt: skip


def test_equal_entries_send_the_gradient_where_pytorch_sends_it():
    """Whole numbers make different patches tie, exactly."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2, 1), nn.Tanh(), nn.MaxPool2d(3, 2), nn.Flatten())
    model = nn.Sequential(*model, nn.Linear(64, 5)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.randint(-1, 2, (4, 1, 3, 3)))
        model[0].bias.zero_()
    x, y = torch.randint(-1, 2, (6, 1, 12, 12)).double(), torch.arange(6) % 5
    weights = torch.rand(1, 6, 1, dtype=torch.float64)
    _, norms, total = step(ChainEngine(), model, x, y, weights)
    _, wanted_norms, wanted = step(LoopEngine(), model, x, y, weights)
    torch.testing.assert_close(norms, wanted_norms, rtol=1e-10, atol=0)
    for name, value in total.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-13)
    # The control: had ties gone to the last of a window, the sums would differ.
    other = step(LoopEngine(), nn.Sequential(model[0], LastOfTies(), *model[2:]), x, y, weights)[2]
    assert not torch.allclose(other["0.weight"], wanted["0.weight"], rtol=1e-3, atol=0)


class LastOfTies(nn.Module):
    def forward(self, x):
        return nn.functional.max_pool2d(x.flip(-1, -2), 2, 1).flip(-1, -2)


def test_float32_agrees_with_the_graph_engine_at_sizes_where_other_kernels_are_used():
    torch.manual_seed(0)
    model, x, y = small_cnn(), torch.randn(300, 1, 14, 14), torch.randint(5, (300,))
    weights = torch.rand(1, 300, 1)
    losses, norms, total = step(ChainEngine(), model, x, y, weights)
    other_losses, other_norms, other = step(GraphEngine(), model, x, y, weights)
    torch.testing.assert_close(losses, other_losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norms, other_norms, rtol=2e-5, atol=0)
    for name, value in total.items():
        assert (value - other[name]).norm() <= 1e-5 * other[name].norm()


def test_rows_that_are_not_finite_add_nothing():
    torch.manual_seed(0)
    model, y = small_cnn(), torch.zeros(4, dtype=torch.int64)
    x = torch.randn(4, 1, 14, 14)
    x[1, 0, 3, 3], x[2, 0, 0, 0] = torch.nan, torch.inf
    weights = torch.tensor([1.0, 0.0, 0.0, 1.0])[None, :, None]
    _, norms, total = step(ChainEngine(), model, x, y, weights)
    kept = step(ChainEngine(), model, x[[0, 3]], y[:2], torch.ones(1, 2, 1))[2]
    assert torch.isnan(norms[0, 1, 0])
    for name, value in total.items():
        torch.testing.assert_close(value, kept[name], rtol=1e-5, atol=1e-6)


def test_one_pass_gives_what_norms_and_sums_give():
    torch.manual_seed(0)
    model, x, y = small_cnn(), torch.randn(200, 1, 14, 14), torch.randint(5, (200,))
    x[7] = torch.nan
    params = {n: p[None] for n, p in trainable_parameters(model).items()}
    mask = torch.ones(1, 200, dtype=torch.bool)
    mask[0, 190:] = False
    batch = Batch(inputs=(x[None],), targets=(y[None],), mask=mask)
    groups = {name: int(name.endswith("bias")) for name in params}
    grads = ChainEngine()(PerExampleLoss(module=model, criterion=cross_entropy), params, batch, groups)

    def weigh(sq_norms, rows):
        counts = mask[:, rows, None] & torch.isfinite(sq_norms)
        return torch.where(counts, (0.5 / sq_norms.sqrt().clamp_min(1e-12)).clamp(max=1), 0)

    both = grads.clipped_sums(weigh, diagnose=True)
    weights = weigh(grads.sq_norms(), slice(None))
    torch.testing.assert_close(both.sq_norms, grads.sq_norms(), equal_nan=True)
    torch.testing.assert_close(both.weights, weights)
    counts = mask & torch.isfinite(grads.losses)
    one_less = torch.where(counts[..., None], 1 - weights, 0)
    for found, own in ((both.clipped, weights), (both.removed, one_less)):
        wanted = grads.weighted_sum(own)
        for name, value in found.items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5)
    assert grads.clipped_sums(weigh, diagnose=False).removed is None


def test_a_chain_that_is_wrong_is_noticed(monkeypatch):
    monkeypatch.setattr(products, "affine", lambda x, w, b, then=None: 1.01 * (x @ w.T))
    with pytest.raises(UnsupportedModule, match="must equal TapeEngine"):
        step(ChainEngine(), small_cnn(), torch.randn(4, 1, 14, 14), torch.zeros(4, dtype=torch.int64))


def test_what_is_shared_is_made_again_for_another_batch():
    shared, made = Shared(), []

    def make(x):
        made.append(1)
        return x + 1

    x = torch.zeros(3)
    for batch in (x, x[:], x.clone(), x):
        shared.begin(batch)
        shared.get(batch, "key", lambda batch=batch: make(batch))
    assert len(made) == 3  # the second is the first one's memory
    shared.begin(x)
    x += 1
    again = x[:]
    shared.begin(again)
    assert shared.get(again, "key", lambda: make(again))[0] == 2


def test_outputs_are_the_modules_own():
    torch.manual_seed(0)
    model, x = small_cnn(), torch.randn(40, 1, 14, 14)
    chain, tensors = chain_of(model), dict(model.named_parameters())
    with torch.no_grad():
        found = chain.outputs(x, tensors, Shared())
        torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-6)
