"""Fast engines equal the loop whatever the shapes, options, precisions, reuse and masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clifftop.flow import Batch, Params, PerExampleGrads
from clifftop.gradients import GradientEngine, LoopEngine, PerExampleLoss, TapeEngine, VmapEngine
from clifftop.gradients.base import flat_groups, stack_runs, trainable_parameters
from clifftop.gradients.graph import GraphEngine

ENGINES: dict[str, Callable[[], GradientEngine]] = {
    "vmap": lambda: VmapEngine(chunk_size=3),
    "tape": TapeEngine,
    "graph": GraphEngine,
}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference from the loop, relative to the largest entry compared."""

engines = pytest.mark.parametrize("engine", ENGINES)
quick = settings(
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
dtypes = st.sampled_from([torch.float64, torch.float32])
sizes = st.integers(1, 6)
few = st.integers(1, 4)
seeds = st.integers(0, 2**20)


def ramp_loss(output: Tensor, target: Tensor) -> Tensor:
    """One loss an example that weighs every output differently, so that a shifted gradient shows."""
    flat = torch.tanh(output).flatten(start_dim=1)
    ramp = torch.linspace(-1.0, 2.0, flat.shape[1], dtype=flat.dtype)
    return (flat * ramp).sum(dim=1) * target


@dataclass(frozen=True)
class Setting:
    """A module at random parameters, a batch for it with some padding, and random weights."""

    loss: PerExampleLoss
    params: Params
    batch: Batch
    weights: Tensor
    groups: dict[str, int]

    def gradients(self, engine: GradientEngine) -> PerExampleGrads:
        return engine(self.loss, self.params, self.batch, self.groups)


def make_setting(
    module: nn.Module, x: Tensor, dtype: torch.dtype, seed: int, *, padding: bool = False, split: bool = False
) -> Setting:
    rng = torch.Generator().manual_seed(seed)
    module.to(dtype)
    trainable = trainable_parameters(module)
    params = stack_runs(
        [{n: 0.6 * torch.randn(p.shape, generator=rng, dtype=p.dtype) for n, p in trainable.items()}]
    )
    size = x.shape[0]
    mask = torch.ones(1, size, dtype=torch.bool)
    if padding:
        mask = torch.rand(1, size, generator=rng) < 0.6
    groups = {n: i for i, n in enumerate(params)} if split else flat_groups(params)
    num_groups = len(params) if split else 1
    weights = torch.randn((1, size, num_groups), generator=rng, dtype=torch.float64).to(dtype)
    return Setting(
        loss=PerExampleLoss(module=module, criterion=ramp_loss),
        params=params,
        batch=Batch(
            inputs=(x[None].to(dtype) if x.is_floating_point() else x[None],),
            targets=(torch.rand((1, size), generator=rng, dtype=torch.float64).add(0.5).to(dtype),),
            mask=mask,
        ),
        weights=weights,
        groups=groups,
    )


def require_equal(engine: GradientEngine, setting: Setting) -> None:
    """Losses, norms and weighted sums of ``engine`` equal the loop's."""
    truth, found = setting.gradients(LoopEngine()), setting.gradients(engine)
    tolerance = TOLERANCE[setting.batch.targets[0].dtype]
    close(found.losses, truth.losses, tolerance)
    close(found.sq_norms(), truth.sq_norms(), tolerance)
    sums, expected = found.weighted_sum(setting.weights), truth.weighted_sum(setting.weights)
    assert sums.keys() == expected.keys()
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        close(sums[name], value, tolerance, scale=scale)


def close(found: Tensor, expected: Tensor, tolerance: float, *, scale: float | None = None) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    scale = float(expected.abs().max()) if scale is None else scale
    assert float((found - expected).abs().max()) <= tolerance * max(scale, 1e-6)


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- stacks of layers on vectors and sequences


class Repeated(nn.Module):
    """Each of some layers called as often as told, in order, with an activation after each call."""

    def __init__(self, layers: list[nn.Module], times: list[int], activation: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.times = times
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer, times in zip(self.layers, self.times, strict=True):
            for _ in range(times):
                x = self.activation(layer(x))
        return x


class Both(nn.Module):
    """The sum of two layers of the same sizes that share one weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + torch.tanh(self.two(x))


class Scaled(nn.Module):
    """A parameter of its own, broadcast over the leading axes, and one that is a matrix from the left."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.mix = nn.Parameter(torch.zeros(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return (self.mix @ (self.scale * x).unsqueeze(-1)).squeeze(-1)


WIDTH = 4
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "no bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    "layer norm": lambda: nn.LayerNorm(WIDTH),
    "rms norm": lambda: nn.RMSNorm(WIDTH, eps=1e-3),
    "tied": lambda: Both(WIDTH),
    "scaled": lambda: Scaled(WIDTH),
    "wide": lambda: nn.Sequential(nn.Linear(WIDTH, 7), nn.Tanh(), nn.Linear(7, WIDTH)),
    "frozen": lambda: nn.Linear(WIDTH, WIDTH).requires_grad_(False),
}
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (nn.Tanh, nn.GELU, nn.SiLU, nn.Identity)
stacks = st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.integers(1, 3)), min_size=1, max_size=4)


@engines
@quick
@given(
    stack=stacks, size=sizes, middle=st.lists(few, max_size=2), activation=st.integers(0, 3),
    dtype=dtypes, seed=seeds, padding=st.booleans(), split=st.booleans(),
)  # fmt: skip
def test_stacks_with_layers_used_again(engine, stack, size, middle, activation, dtype, seed, padding, split):
    module = Repeated(
        [LAYERS[name]() for name, _ in stack], [times for _, times in stack], ACTIVATIONS[activation]()
    )
    constants = {n: p.detach().to(dtype) for n, p in module.named_parameters() if not p.requires_grad}
    assume(trainable_parameters(module))
    setting = make_setting(
        module, numbers(seed, size, *middle, WIDTH), dtype, seed, padding=padding, split=split
    )
    loss = replace(setting.loss, constants={n: c[None] for n, c in constants.items()})
    require_equal(ENGINES[engine](), replace(setting, loss=loss))


# ---------------------------------------------------------------- convolutions

CONVOLUTIONS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution of any kind, and the shape of an image that it fits."""
    axes, transposed = draw(st.integers(1, 3)), draw(st.booleans())
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    each = {
        name: tuple(draw(st.integers(low, high)) for _ in range(axes))
        for name, low, high in (
            ("kernel_size", 1, 3),
            ("stride", 1, 3),
            ("dilation", 1, 2),
            ("padding", 0, 2),
        )
    }
    reach = [d * (k - 1) + 1 for k, d in zip(each["kernel_size"], each["dilation"], strict=True)]
    sides = tuple(draw(st.integers(1, 7 - 2 * (axes - 1))) for _ in range(axes))
    options: dict[str, object] = {"groups": groups, "bias": draw(st.booleans())}
    if transposed:
        room = [
            (n - 1) * s - 2 * p + r
            for n, s, p, r in zip(sides, each["stride"], each["padding"], reach, strict=True)
        ]
        assume(min(room) >= 1)
    else:
        assume(all(n + 2 * p >= r for n, p, r in zip(sides, each["padding"], reach, strict=True)))
        if all(n > p for n, p in zip(sides, each["padding"], strict=True)):
            options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    outputs = groups * draw(st.integers(1, 2))
    layer = CONVOLUTIONS[axes][transposed](channels, outputs, **each, **options)
    return layer, (channels, *sides)


@engines
@settings(quick, max_examples=40)
@given(conv=convolutions(), size=sizes, dtype=dtypes, seed=seeds, normed=st.booleans(), padding=st.booleans())
def test_convolutions(engine, conv, size, dtype, seed, normed, padding):
    layer, shape = conv
    module = nn.Sequential(nn.GroupNorm(1, shape[0]), layer) if normed and math.prod(shape) > 1 else layer
    setting = make_setting(module, numbers(seed, size, *shape), dtype, seed, padding=padding)
    require_equal(ENGINES[engine](), setting)


# ---------------------------------------------------------------- tokens, recurrence, attention


class Tokens(nn.Module):
    """Token and position embeddings, then layers, then the token table again as the output layer."""

    def __init__(self, body: nn.Module, *, tied: bool, padding_idx: int | None, length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(5, WIDTH, padding_idx=padding_idx)
        self.positions = nn.Parameter(torch.zeros(length, WIDTH))
        self.body = body
        self.head = nn.Linear(WIDTH, 5, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(self.table(ids) + self.positions))


class Unrolled(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class SelfAttention(nn.Module):
    """Multi-head attention, examples first or sequence first, causal or not."""

    def __init__(self, heads: int, *, batch_first: bool, causal: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, heads, batch_first=batch_first)
        self.batch_first, self.causal = batch_first, causal

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        x = x if self.batch_first else x.transpose(0, 1)
        out, _ = self.attention(x, x, x, attn_mask=mask, need_weights=False)
        return out if self.batch_first else out.transpose(0, 1)


@st.composite
def bodies(draw: st.DrawFn) -> nn.Module:
    """What turns ``(B, T, WIDTH)`` into the same."""
    kind = draw(st.sampled_from(["rnn", "gru", "lstm", "attention", "linear"]))
    if kind == "attention":
        heads = draw(st.sampled_from([1, 2, 4]))
        return SelfAttention(heads, batch_first=draw(st.booleans()), causal=draw(st.booleans()))
    if kind == "linear":
        return Repeated([nn.Linear(WIDTH, WIDTH)], [draw(st.integers(1, 3))], nn.Tanh())
    layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind]
    both = draw(st.booleans())
    options = {"num_layers": draw(st.integers(1, 2)), "bidirectional": both, "bias": draw(st.booleans())}
    return Unrolled(layer(WIDTH, WIDTH // (1 + both), batch_first=True, **options))


@engines
@settings(quick, max_examples=20)
@given(
    body=bodies(), tied=st.booleans(), padding_idx=st.sampled_from([None, 0, 3]), size=sizes, length=few,
    dtype=dtypes, seed=seeds, padding=st.booleans(), split=st.booleans(),
)  # fmt: skip
def test_tokens(engine, body, tied, padding_idx, size, length, dtype, seed, padding, split):
    module = Tokens(body, tied=tied, padding_idx=padding_idx, length=length)
    ids = torch.randint(5, (size, length), generator=torch.Generator().manual_seed(seed))
    require_equal(ENGINES[engine](), make_setting(module, ids, dtype, seed, padding=padding, split=split))


# ---------------------------------------------------------------- negative control


@dataclass(frozen=True)
class Forgetful:
    """The loop, but gradients are a thousandth too short where a layer is used again."""

    def __call__(self, loss, params, batch, groups, draws=None):
        truth = LoopEngine()(loss, params, batch, groups, draws)
        uses = getattr(loss.module, "times", [1])
        short = [1 - 1e-3 * (max(uses) > 1)] * len(truth.rows)
        return replace(
            truth, rows={n: row * s for s, (n, row) in zip(short, truth.rows.items(), strict=True)}
        )


def test_a_broken_engine_is_found():
    """A fault that shows only where a layer is used again is found within the examples of one test."""

    @settings(quick, phases=[Phase.generate])
    @given(stack=stacks, size=sizes, seed=seeds)
    def holds(stack, size, seed):
        module = Repeated(
            [LAYERS[n]() for n, _ in stack if n != "frozen"],
            [t for n, t in stack if n != "frozen"],
            nn.Tanh(),
        )
        assume(len(module.layers))
        require_equal(Forgetful(), make_setting(module, numbers(seed, size, WIDTH), torch.float32, seed))

    with pytest.raises(AssertionError):
        holds()
