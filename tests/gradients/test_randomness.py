"""Dropout from named streams: reproducible, prefix-stable, and no other randomness gets through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clifftop.flow import Batch
from clifftop.gradients.base import PerExampleLoss, UnsupportedModule
from clifftop.gradients.instantiated import InstantiatedGrads
from clifftop.gradients.loop import LoopEngine
from clifftop.gradients.randomness import Draw, DropoutFromUniforms, draw_uniforms, find_draws
from clifftop.testing.gradients import Case, SeededDraws, make_case
from clifftop.testing.odd_modules import Checkpointed
from clifftop.testing.odd_sequences import CausalBlock, Transposed
from clifftop.testing.problem import regression

DROPOUT = regression(
    "dropout", lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)), (4,), (3,)
)


def draws_of(case: Case) -> tuple[Draw, ...]:
    return find_draws(case.loss, case.params, case.batch)


def with_module(module: nn.Module, inputs: tuple[int, ...] = (4,), outputs: tuple[int, ...] = (3,)) -> Case:
    return make_case(regression("a model", lambda: module, inputs, outputs))


def rows_of(case: Case) -> dict[str, torch.Tensor]:
    grads = case.gradients(LoopEngine())
    assert isinstance(grads, InstantiatedGrads)
    return grads.rows


# ---------------------------------------------------------------- finding dropouts


def test_finds_each_dropout_and_the_axis_of_the_examples():
    layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(4, 5), nn.Dropout(0.2), nn.Linear(5, 3))
    assert draws_of(with_module(Transposed(layers), (6, 4), (6, 3))) == (
        Draw(axis=1, rest=(6, 4)),
        Draw(axis=1, rest=(6, 5)),
    )


def test_finds_channel_and_attention_dropout():
    conv = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.3))
    assert draws_of(with_module(conv, (2, 6, 6), (4, 4, 4))) == (Draw(axis=0, rest=(4, 1, 1)),)
    block = CausalBlock(0.3)
    assert draws_of(with_module(block, (3, 4), (3, 4))) == (
        Draw(axis=0, rest=(2, 3, 3)),
        Draw(axis=0, rest=(3, 4)),
    )
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True)
    assert [d.rest for d in draws_of(with_module(layer, (3, 4), (3, 4)))] == [
        (2, 3, 3),
        (3, 4),
        (3, 6),
        (3, 4),
    ]


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_a_dropout_that_does_nothing_draws_nothing(p: float, training: bool):
    case = with_module(nn.Sequential(nn.Linear(4, 3), nn.Dropout(p)))
    case.loss.module.train(training)
    assert draws_of(case) == ()


class FunctionalDropout(nn.Module):
    """Drops out in eval mode too: the function's default."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return F.dropout(self.linear(x), 0.5)


def test_functional_dropout_counts_in_eval_mode():
    case = with_module(FunctionalDropout().eval())
    case.loss.module.eval()
    assert draws_of(case) == (Draw(axis=0, rest=(3,)),)


def test_a_dropout_needs_a_stream():
    case = make_case(DROPOUT)
    with pytest.raises(UnsupportedModule, match=r"named stream.*draws=None"):
        LoopEngine()(case.loss, case.params, case.batch, dict.fromkeys(case.params, 0), None)


def test_a_spare_dropout_is_refused():
    with DropoutFromUniforms([torch.rand(3)]):
        F.dropout(torch.ones(3), 0.5)
        with pytest.raises(UnsupportedModule, match="one more dropout"):
            F.dropout(torch.ones(3), 0.5)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_mask_keeps_and_scales_as_dropout_does(p: float):
    """A value stays where its uniform is at least p, and is divided by 1 - p; so the mean is kept."""
    x = torch.arange(1.0, 1001.0)
    u = SeededDraws(seeds=(5,)).uniform("dropout/0", (1000,))[0]
    with DropoutFromUniforms([u]):
        found = F.dropout(x, p)
    assert torch.equal(found != 0, u >= p)
    kept = found != 0
    torch.testing.assert_close(found[kept], x[kept] / (1 - p) if p < 1 else x[kept])


def test_in_place_dropout_writes_into_its_argument():
    x = torch.ones(4)
    with DropoutFromUniforms([torch.tensor([0.1, 0.9, 0.1, 0.9])]):
        found = F.dropout(x, 0.5, inplace=True)
    assert found is x
    assert x.tolist() == [0, 2, 0, 2]


def test_attention_dropout_equals_the_formula():
    """softmax(q k^T / sqrt(d)) masked, scaled, times v, with and without a causal mask."""
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=rng, dtype=torch.float64).unbind(0)
    u = torch.rand(2, 3, 5, 5, generator=rng, dtype=torch.float64)
    for causal in (False, True):
        scores = q @ k.mT / 2
        if causal:
            scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        weights = scores.softmax(-1) * (u >= 0.3) / 0.7
        with DropoutFromUniforms([u]):
            found = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3, is_causal=causal)
        torch.testing.assert_close(found, weights @ v, rtol=1e-12, atol=1e-14)


def test_grouped_query_attention_dropout():
    """Keys and values shared by groups of heads give what repeated ones give."""
    rng = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 5, 4, generator=rng, dtype=torch.float64)
    k, v = torch.randn(2, 2, 2, 5, 4, generator=rng, dtype=torch.float64).unbind(0)
    u = torch.rand(2, 4, 5, 5, generator=rng, dtype=torch.float64)
    with DropoutFromUniforms([u, u]):
        grouped = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3, enable_gqa=True)
        repeated = F.scaled_dot_product_attention(
            q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), dropout_p=0.3
        )
    torch.testing.assert_close(grouped, repeated, rtol=1e-12, atol=1e-14)


def test_multi_head_attention_without_dropout_is_untouched():
    """Running PyTorch's attention under the mode gives PyTorch's result."""
    torch_attention = nn.MultiheadAttention(4, 2, batch_first=True, dropout=0.5).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(2, 2, 3, 3, dtype=torch.float64)
    with DropoutFromUniforms([ones]):
        kept, _ = torch_attention(x, x, x, need_weights=False)
    plain, _ = torch_attention.eval()(x, x, x, need_weights=False)
    torch.testing.assert_close(kept * 0.5 + torch_attention.out_proj.bias * 0.5, plain)


# ---------------------------------------------------------------- streams


def test_the_global_generator_is_neither_read_nor_moved():
    case = make_case(DROPOUT)
    before = torch.get_rng_state()
    first = rows_of(case)
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.rand(17)
        second = rows_of(case)
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_masks_are_reproducible_and_differ_by_seed():
    case = make_case(DROPOUT)
    other = replace(case, draws=SeededDraws(seeds=(90, 91, 92)))
    first, again, changed = rows_of(case), rows_of(case), rows_of(other)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["0.weight"], changed["0.weight"])


def test_masks_differ_between_examples_runs_and_layers():
    stream = SeededDraws(seeds=(1, 2))
    one, two = draw_uniforms([Draw(axis=0, rest=(50,)), Draw(axis=1, rest=(50,))], 3, stream)
    rows = torch.cat([one.flatten(0, 1), two.flatten(0, 1)])
    assert len(torch.unique(rows, dim=0)) == 12


def test_longer_batches_only_append():
    """An example's masks do not depend on how much padding follows it."""
    case = make_case(DROPOUT, batch_size=5)
    short, long = rows_of(case.first(3)), rows_of(case)
    for name, rows in short.items():
        torch.testing.assert_close(rows, long[name][:, :3], rtol=1e-13, atol=1e-15)


def test_drop_rate():
    """The share of kept values over 40,000 draws lies within 5 standard deviations of 1 - p.

    False alarm: 6e-7. The negative control, the share kept at p = 0.3 tested against p = 0.33, fails.
    """
    u = SeededDraws(seeds=(3,)).uniform("dropout/0", (40_000,))[0]
    with DropoutFromUniforms([u]):
        kept = int((F.dropout(torch.ones(40_000), 0.3) != 0).sum())

    def deviations(p: float) -> float:
        return abs(kept - 40_000 * (1 - p)) / np.sqrt(40_000 * p * (1 - p))

    assert deviations(0.3) < 5
    assert deviations(0.33) > 5


# ---------------------------------------------------------------- other randomness


class Draws(nn.Module):
    """A linear layer and one random function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.linear(x))


OWN = torch.Generator().manual_seed(0)
RANDOM = {
    "rand": lambda x: x + torch.rand(3),
    "randn": lambda x: x * torch.randn(()),
    "randn_like": lambda x: x + torch.randn_like(x),
    "randint": lambda x: x + torch.randint(3, (3,)),
    "randperm": lambda x: x[:, torch.randperm(3)],
    "bernoulli": lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    "normal_": lambda x: x + torch.empty(3).normal_(),
    "uniform_": lambda x: x + torch.empty(3).uniform_(),
    "exponential_": lambda x: x + torch.empty(3).exponential_(),
    "log_normal_": lambda x: x + torch.empty(3).log_normal_(),
    "multinomial": lambda x: x[:, torch.multinomial(torch.ones(3), 2)].repeat(1, 2)[:, :3],
    "poisson": lambda x: x + torch.poisson(torch.ones(3)),
    "dropout": lambda x: torch.dropout(x, 0.5, train=True),
    "native_dropout": lambda x: torch.native_dropout(x, 0.5, True)[0],
    "feature_dropout": lambda x: torch.feature_dropout(x, 0.5, train=True),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, training=True),
    "feature_alpha_dropout": lambda x: F.feature_alpha_dropout(x, 0.5, training=True),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "gumbel_softmax": F.gumbel_softmax,
    "own generator": lambda x: x + torch.rand(3, generator=OWN),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", RANDOM)
def test_other_randomness_is_refused_by_name(name: str, training: bool):
    case = with_module(nn.Sequential(Draws(RANDOM[name])))
    case.loss.module.train(training)
    before = torch.get_rng_state()
    with pytest.raises(UnsupportedModule, match=r"'0' \(Draws\): no engine can"):
        draws_of(case)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "function",
    [F.relu, F.rrelu, F.alpha_dropout, lambda x: x + torch.arange(3)],
    ids=["relu", "rrelu in eval", "alpha dropout in eval", "arange"],
)
def test_functions_that_do_not_draw_pass(function):
    assert draws_of(with_module(Draws(function))) == ()


def test_a_random_criterion_is_refused():
    case = make_case(DROPOUT)
    loss = replace(case.loss, criterion=lambda o, y: (o - y + torch.randn(3)).square().sum(1))
    with pytest.raises(UnsupportedModule, match="found randn"):
        find_draws(loss, case.params, case.batch)


def test_dropout_in_a_checkpoint_is_refused():
    """The backward pass would draw a second mask; without dropout a checkpoint is welcome."""
    with pytest.raises(UnsupportedModule, match=r"checkpoint.*'inside.1' \(Dropout\)"):
        draws_of(with_module(Checkpointed(0.5)))
    assert draws_of(with_module(Checkpointed(0.0))) == ()


def test_saved_tensor_hooks_of_the_caller_are_no_checkpoint():
    with torch.autograd.graph.save_on_cpu():
        assert len(draws_of(make_case(DROPOUT))) == 1


def test_unbatched_channel_dropout_is_refused():
    case = with_module(nn.Sequential(nn.Linear(4, 3), nn.Dropout1d(0.5)))
    with pytest.raises(UnsupportedModule, match=r"dropout1d must see \(B, C, \.\.\.\)"):
        draws_of(case)


class DropsByBatchSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        x = F.dropout(self.linear(x), 0.5)
        return F.dropout(x, 0.5) if len(x) > 2 else x


def test_dropouts_must_not_depend_on_the_batch_size():
    with pytest.raises(UnsupportedModule, match="found 1 for 2 examples and 2 for 3"):
        draws_of(with_module(DropsByBatchSize()))


def test_weights_cannot_be_dropped():
    class DropConnect(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return F.linear(x, F.dropout(self.linear.weight, 0.5))

    with pytest.raises(UnsupportedModule, match=r"\(3, 4\) for a batch of 2 in '\(root\)' \(DropConnect\)"):
        draws_of(with_module(DropConnect()))


# ---------------------------------------------------------------- writes


def test_writing_into_parameters_is_refused_and_undone():
    case = make_case(
        regression("writes", lambda: nn.Sequential(WritesItsWeight()), (4,), (3,)), num_runs=2, batch_size=3
    )
    before = {n: p.clone() for n, p in case.params.items()}
    with pytest.raises(UnsupportedModule, match=r"writes into '0\.linear\.weight'"):
        case.gradients(LoopEngine())
    assert all(torch.equal(case.params[n], before[n]) for n in before)


class WritesItsWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        with torch.no_grad():
            self.linear.weight.mul_(0.99)
        return self.linear(x)


def test_module_registered_twice_keeps_its_parameters():
    """The call leaves a module that has two names as it was, which ``functional_call`` alone does not."""
    linear = nn.Linear(4, 4)
    own = linear.weight
    module = nn.Sequential(linear, nn.Tanh(), linear)
    loss = PerExampleLoss(module=module, criterion=lambda o: o.sum(1))
    params = {"0.weight": torch.eye(4).unsqueeze(0), "0.bias": torch.zeros(1, 4)}
    batch = Batch(inputs=(torch.ones(1, 2, 4),), targets=(), mask=torch.ones(1, 2, dtype=torch.bool))
    grads = LoopEngine()(loss, params, batch, {"0.weight": 0, "0.bias": 0})
    torch.testing.assert_close(grads.losses, torch.full((1, 2), 4 * float(np.tanh(1.0))))
    assert module[0].weight is own
    assert module[2].weight is own
