"""Parameters that no layer owns: one module for any formula, and problems made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.testing.problem import Problem, classes, floats, regression, squared_error, tokens


@final
class Formula(nn.Module):
    """Parameters of the shapes given, and a function of the inputs and of them."""

    def __init__(self, function: Callable[..., Tensor], **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self.function = function
        self.names = tuple(shapes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Whatever the function gives: it takes the inputs, then the parameters in order."""
        return self.function(*inputs, *(getattr(self, name) for name in self.names))


_One = Callable[[Tensor, Tensor], Tensor]
_Two = Callable[[Tensor, Tensor, Tensor], Tensor]


def _one(
    name: str, function: _One, inputs: tuple[int, ...], outputs: tuple[int, ...], **shape: tuple[int, ...]
) -> Problem:
    """A function of the input and one parameter."""
    return regression(name, lambda: Formula(function, **shape), inputs, outputs)


def _two(
    name: str, function: _Two, inputs: tuple[int, ...], outputs: tuple[int, ...], **shapes: tuple[int, ...]
) -> Problem:
    """A function of the input and two parameters."""
    return regression(name, lambda: Formula(function, **shapes), inputs, outputs)


def _looked_up(name: str, function: _One, table: tuple[int, ...], high: int, *ids: int) -> Problem:
    """A function of whole numbers below ``high`` and of a table."""
    return classes(name, lambda: Formula(function, table=table), tokens(high, *ids))


def _spectral(x: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(x) * torch.complex(real, imaginary), n=x.shape[-1])


def _written(x: Tensor, scale: Tensor, start: Tensor) -> Tensor:
    out = x.new_zeros(x.shape[0], 2, x.shape[1])
    out[:, 0] = start
    out[:, 1] = x * scale
    return torch.tanh(out).cumsum(dim=1)


def _halves(x: Tensor, weight: Tensor) -> Tensor:
    first, second = weight.split((3, 4))
    return F.linear(torch.tanh(F.linear(x, first)), second[:, :3])


def _scores(x: Tensor, ids: Tensor, table: Tensor) -> Tensor:
    return torch.einsum("bd,bnd->bn", x, table[ids])


def _query_and_rows(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
    return floats((4,))(rng, size) + tokens(6, 3)(rng, size)


def _learned_queries(x: Tensor, queries: Tensor) -> Tensor:
    asked = queries.expand(x.shape[0], -1, -1)
    return F.scaled_dot_product_attention(asked, x, torch.tanh(x))


_PRODUCTS = (
    _two(
        "functional linear",
        lambda x, weight, bias: torch.tanh(F.linear(x, weight, bias)),
        (4,), (3,), weight=(3, 4), bias=(3,),
    ),
    _two(
        "functional convolution",
        lambda x, weight, bias: torch.tanh(F.conv2d(x, weight, bias, stride=2, padding=1)),
        (2, 4, 4), (3, 2, 2), weight=(3, 2, 3, 3), bias=(3,),
    ),
    _one(
        "einsum as linear",
        lambda x, weight: torch.tanh(torch.einsum("bti,oi->bto", x, weight)),
        (3, 4), (3, 2), weight=(2, 4),
    ),
    _one(
        "einsum into heads",
        lambda x, weight: torch.tanh(torch.einsum("btk,khd->bthd", x, weight)),
        (3, 4), (3, 2, 3), weight=(4, 2, 3),
    ),
    _two(
        "einsum of three",
        lambda x, down, up: torch.einsum("bi,ri,or->bo", torch.tanh(x), down, up),
        (4,), (3,), down=(2, 4), up=(3, 2),
    ),
    _one(
        "einsum square",
        lambda x, weight: torch.einsum("bi,ij,bj->b", x, weight, x).unsqueeze(1),
        (4,), (1,), weight=(4, 4),
    ),
    _two(
        "addmm",
        lambda x, weight, bias: torch.addmm(bias, torch.tanh(x), weight, beta=0.5, alpha=2.0),
        (4,), (3,), weight=(4, 3), bias=(3,),
    ),
    _two(
        "baddbmm",
        lambda x, weight, bias: torch.baddbmm(bias, x, weight.expand(x.shape[0], -1, -1)),
        (3, 4), (3, 2), weight=(1, 4, 2), bias=(1, 1, 2),
    ),
    _one(
        "weight on the left", lambda x, weight: torch.tanh(weight @ x), (4, 3), (2, 3), weight=(2, 4)
    ),
    _one("vector on the right", lambda x, weight: torch.tanh(x @ weight), (3, 4), (3,), weight=(4,)),
    _one(
        "batch of matrices",
        lambda x, weight: (x.unsqueeze(2) @ weight).squeeze(2),
        (3, 4), (3, 2), weight=(3, 4, 2),
    ),
    _one(
        "features first", lambda x, weight: torch.tanh(weight @ x.t()).t(), (4,), (3,), weight=(3, 4)
    ),
    _one(
        "tensordot", lambda x, weight: torch.tensordot(x, weight, dims=2), (3, 4), (2,), weight=(3, 4, 2)
    ),
    _one("learned queries", _learned_queries, (3, 4), (2, 4), queries=(1, 2, 4)),
    _one(
        "distances to centres",
        lambda x, centres: (x.unsqueeze(1) - centres).square().sum(dim=2),
        (4,), (3,), centres=(3, 4),
    ),
    _one(
        "cosine classifier",
        lambda x, weight: F.linear(F.normalize(x), F.normalize(weight)),
        (4,), (3,), weight=(3, 4),
    ),
)  # fmt: skip

_MADE = (
    _one("exponential weight", lambda x, log: F.linear(x, log.exp()), (4,), (3,), log=(3, 4)),
    _one(
        "weight over its norm",
        lambda x, weight: F.linear(x, weight / weight.norm()),
        (4,), (3,), weight=(3, 4),
    ),
    _two("low-rank weight", lambda x, u, v: x @ (u @ v), (4,), (3,), u=(4, 2), v=(2, 3)),
    _one("weight in two halves", _halves, (3,), (4,), weight=(7, 3)),
    _one(
        "weight used twice",
        lambda x, weight: torch.tanh(x @ weight) @ weight.t(),
        (4,), (4,), weight=(4, 3),
    ),
    _two("outer product", lambda x, u, v: torch.tanh(x @ torch.outer(u, v)), (4,), (3,), u=(4,), v=(3,)),
    _one("triangular weight", lambda x, weight: x @ weight.tril(), (4,), (4,), weight=(4, 4)),
    _one("symmetric weight", lambda x, weight: x @ (weight + weight.t()), (4,), (4,), weight=(4, 4)),
    _one(
        "orthogonal weight",
        lambda x, weight: x @ torch.linalg.matrix_exp(weight - weight.t()),
        (3,), (3,), weight=(3, 3),
    ),
    _one(
        "cumulative product", lambda x, rates: x * torch.cumprod(rates, dim=0), (4,), (4,), rates=(4,)
    ),
    _one(
        "mixture weights",
        lambda x, logits: torch.einsum("btd,t->bd", torch.tanh(x), logits.softmax(dim=0)),
        (3, 4), (4,), logits=(3,),
    ),
    _one("mean of a parameter", lambda x, weight: x * weight.mean(), (4,), (4,), weight=(2, 3)),
    _one(
        "parameter on two paths",
        lambda x, weight: F.linear(x, weight) * weight.square().sum(dim=1),
        (4,), (3,), weight=(3, 4),
    ),
)  # fmt: skip

_BROADCAST = (
    _one("leading scale", lambda x, scale: torch.tanh(x * scale), (3, 4), (3, 4), scale=(3, 1)),
    _one("trailing shift", lambda x, shift: torch.tanh(x + shift), (3, 4), (3, 4), shift=(4,)),
    _one("outer shift", lambda x, shift: torch.tanh(x.unsqueeze(2) + shift), (3,), (3, 2), shift=(1, 2)),
    _one("scalar scale", lambda x, scale: torch.tanh(scale * x), (3, 4), (3, 4), scale=()),
    _one("divided", lambda x, scale: torch.tanh(x / (1 + scale.square())), (3, 4), (3, 4), scale=(3, 1)),
    _one("divided by data", lambda x, scale: scale / (2 + x.tanh()), (3, 4), (3, 4), scale=(4,)),
    _one("powered", lambda x, power: (1 + x.square()) ** power, (3, 4), (3, 4), power=(4,)),
    _one("base of a power", lambda x, base: (1 + base.square()) ** x, (3, 4), (3, 4), base=(3, 1)),
    _one("maximum", torch.maximum, (4,), (4,), other=(4,)),
    _one("where", lambda x, other: torch.where(x > 0, x * other, other), (4,), (4,), other=(4,)),
    _two("lerp", lambda x, end, by: torch.lerp(x, end.expand_as(x), by), (4,), (4,), end=(4,), by=(1,)),
    _two(
        "addcmul",
        lambda x, shift, scale: torch.addcmul(shift, x, scale),
        (4,), (4,), shift=(4,), scale=(4,),
    ),
    _two("spectral filter", _spectral, (6,), (6,), real=(4,), imaginary=(4,)),
)  # fmt: skip

_PLACED = (
    _one(
        "expanded start", lambda x, start: torch.tanh(start.expand(len(x), -1) * x), (4,), (4,), start=(1, 4)
    ),
    _one(
        "repeated start", lambda x, start: torch.tanh(start.repeat(len(x), 1) + x), (4,), (4,), start=(1, 4)
    ),
    _one(
        "joined columns",
        lambda x, more: torch.cat([x, more.expand(x.shape[0], -1)], dim=1).cumsum(dim=1).tanh(),
        (3,), (5,), more=(2,),
    ),
    _one(
        "stacked rows",
        lambda x, row: torch.stack([x, row.expand_as(x)], dim=1).cumsum(dim=1).tanh(),
        (4,), (2, 4), row=(4,),
    ),
    _two("written in place", _written, (4,), (2, 4), scale=(4,), start=(4,)),
    _one(
        "fixed rows", lambda x, table: x * table[[0, 2, 2, 1]].sum(dim=1), (4,), (4,), table=(3, 2)
    ),
    _one(
        "fixed pairs",
        lambda x, table: torch.tanh(x + table[torch.tensor([[0, 1], [1, 2]], device=x.device)]),
        (2, 2, 3), (2, 2, 3), table=(3, 3),
    ),
    _looked_up("looked-up rows", lambda ids, table: table[ids], (6, 3), 6),
    _looked_up("looked-up sums", lambda ids, table: table[ids].tanh().sum(dim=1), (6, 3), 6, 4),
    _looked_up("looked-up pairs", lambda ids, table: table[ids[:, 0], ids[:, 1]], (4, 4, 3), 4, 2),
    _looked_up(
        "functional embedding", lambda ids, table: F.embedding(ids, table).prod(dim=1), (6, 3), 6, 2
    ),
    _looked_up(
        "index select",
        lambda ids, table: table.index_select(0, ids.reshape(-1)).reshape(*ids.shape, 3).prod(dim=1),
        (6, 3), 6, 2,
    ),
    _looked_up(
        "gathered entries",
        lambda ids, table: torch.gather(table.expand(len(ids), -1), 1, ids),
        (6,), 6, 3,
    ),
    _looked_up("one-hot product", lambda ids, table: F.one_hot(ids, 6).to(table) @ table, (6, 3), 6),
    Problem(
        name="scores of looked-up rows",
        build=lambda: Formula(_scores, table=(6, 4)),
        inputs=_query_and_rows,
        targets=floats((3,)),
        criterion=squared_error,
    ),
)  # fmt: skip

_IDLE = (
    _two("unused parameter", lambda x, weight, _: x @ weight, (4,), (3,), weight=(4, 3), idle=(2,)),
    _two(
        "parameter times zero",
        lambda x, weight, idle: x @ weight + 0 * idle,
        (4,), (3,), weight=(4, 3), idle=(3,),
    ),
    _two(
        "detached parameter",
        lambda x, weight, scale: (x @ weight) * scale.detach(),
        (4,), (3,), weight=(4, 3), scale=(3,),
    ),
    _one("no parameter reaches the loss", lambda x, _: x * 2, (4,), (4,), idle=(2,)),
    _one("no input reaches the loss", lambda x, weight: weight.expand_as(x), (4,), (4,), weight=(4,)),
    _one(
        "some examples without gradient",
        lambda x, weight: (x @ weight) * (x[:, :1] > 0),
        (4,), (3,), weight=(4, 3),
    ),
)  # fmt: skip

PARAMETER_PROBLEMS: tuple[Problem, ...] = (*_PRODUCTS, *_MADE, *_BROADCAST, *_PLACED, *_IDLE)
"""Bare parameters in products, in other parameters, broadcast, looked up, and without effect."""
