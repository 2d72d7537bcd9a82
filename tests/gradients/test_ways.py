"""Every way to a layer's norms and sum gives the same numbers, and no way lets an example pass its bound."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from clifftop.gradients.graph.contributions import Choosable, Kept, Outer, Patches
from clifftop.gradients.rules import products
from clifftop.gradients.rules.patches import Shape

DTYPES = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-6, 3e-6)}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def as_dtype(part: Choosable, dtype: torch.dtype) -> Choosable:
    first, second = (x.to(dtype) for x in part.operands)
    return Patches(first, second, part.shape) if isinstance(part, Patches) else Outer(first, second)


def reference_rows(part: Choosable) -> Tensor:
    """Each example's gradient in float64 by autograd, one example at a time."""
    first, second = (x.double() for x in part.operands)
    if isinstance(part, Outer):
        return torch.stack([a.mT @ g for a, g in zip(first, second, strict=True)])
    assert isinstance(part, Patches)
    shape, rows = part.shape, []
    weight = torch.zeros(shape.weight, dtype=torch.float64, requires_grad=True)
    for x, g in zip(first, second, strict=True):
        axes = len(shape.stride) + 1
        out = torch.ops.aten.convolution(
            x.reshape(-1, *x.shape[-axes:]),
            weight,
            None,
            shape.stride,
            shape.padding,
            shape.dilation,
            shape.transposed,
            shape.output_padding,
            shape.groups,
        )
        rows.append(torch.autograd.grad(out, weight, g.reshape(out.shape))[0])
    return torch.stack(rows)


def hold_all_ways(part: Choosable) -> set[str]:
    """Norms and sums of every way in both precisions; the ways' names."""
    for dtype, (norms_within, sums_within) in DTYPES.items():
        own = as_dtype(part, dtype)
        rows = reference_rows(own)
        norms = rows.flatten(1).norm(dim=1)
        weights = normal(len(rows), seed=7)
        total = torch.einsum("b,b...->...", weights, rows)
        # What the sum's terms weigh: a sum of large terms may be small, and is then not known better.
        scale = torch.einsum("b,b->", weights.abs(), norms)
        for option in own.options():
            found, rest = option.settle()
            assert found.dtype == dtype
            torch.testing.assert_close(found.double(), norms, rtol=norms_within, atol=1e-30)
            error = (rest.weighted_sum(weights.to(dtype)).double() - total).norm()
            assert error <= sums_within * scale, option.name
            assert (option.kept_bytes > 0) == isinstance(rest, Kept)
    return {option.name for option in part.options()}


@st.composite
def convolutions(draw: st.DrawFn) -> Patches:
    axes = draw(st.integers(1, 2))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    groups = draw(st.integers(1, 2))
    kernel, stride, dilation, padding = each(1, 3), each(1, 3), each(1, 2), each(0, 2)
    inputs = groups * draw(st.integers(1, 3))
    size = tuple(d * (k - 1) + 1 + draw(st.integers(0, 5)) for d, k in zip(dilation, kernel, strict=True))
    outputs = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    )
    count, maps = draw(st.integers(1, 5)), groups * draw(st.integers(1, 4))
    return Patches(
        normal(count, inputs, *size),
        normal(count, maps, *outputs, seed=1),
        Shape(
            weight=(maps, inputs // groups, *kernel),
            stride=stride,
            padding=padding,
            dilation=dilation,
            output_padding=(0,) * axes,
            groups=groups,
            transposed=False,
        ),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(convolutions())
def test_ways_of_convolutions(part: Patches):
    names = hold_all_ways(part)
    assert {"grouped", "grouped, kept", "ghost"} <= names
    assert ("shifted" in names) == (set(part.shape.stride) == {1})
    assert ("mirrored" in names) == (part.shape.weight[1] == part.shape.groups == 1)


def plain_shape(*weight: int, padding: int = 0, transposed: bool = False) -> Shape:
    axes = len(weight) - 2
    return Shape(
        weight=weight,
        stride=(1,) * axes,
        padding=(padding,) * axes,
        dilation=(1,) * axes,
        output_padding=(0,) * axes,
        groups=1,
        transposed=transposed,
    )


ODD = {
    "3d": (normal(3, 2, 4, 5, 3), normal(3, 4, 4, 5, 3, seed=1), plain_shape(4, 2, 3, 3, 3, padding=1)),
    "transposed": (normal(3, 2, 4, 4), normal(3, 3, 6, 6, seed=1), plain_shape(2, 3, 3, 3, transposed=True)),
    "several images": (normal(3, 2, 4, 6), normal(3, 2, 5, 4, seed=1), plain_shape(5, 4, 3)),
    "many": (normal(90, 8, 9, 9), normal(90, 64, 7, 7, seed=1), plain_shape(64, 8, 3, 3)),
    "large": (normal(3, 64, 10, 10), normal(3, 96, 10, 10, seed=1), plain_shape(96, 64, 3, 3, padding=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_ways_of_odd_convolutions(name: str):
    x, g, shape = ODD[name]
    names = hold_all_ways(Patches(x, g, shape))
    assert ("shifted" in names) == (name not in {"transposed", "several images"})
    assert ("ghost" in names) == (name not in {"3d", "transposed", "several images"})


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), max_size=2), *[st.integers(1, 12)] * 3)
def test_ways_of_products(size: int, kept_axes: list[int], positions: int, d: int, p: int):
    part = Outer(normal(size, *kept_axes, positions, d), normal(size, *kept_axes, positions, p, seed=1))
    assert hold_all_ways(part) == {"ghost", "formed", "kept"}


def test_ways_of_products_that_another_library_does():
    part = Outer(normal(4, 128, 160), normal(4, 128, 256, seed=1))
    assert products.is_quick(torch.zeros(1), 128 * 160 * 256)
    assert hold_all_ways(part) == {"ghost", "formed", "kept"}


@pytest.mark.parametrize(
    "name", ["ghost", "formed", "kept", "grouped", "grouped, kept", "mirrored", "shifted"]
)
def test_no_clipped_gradient_passes_its_bound(name: str):
    """Long rows in float32: a norm that is found too small would let an example weigh more than allowed."""
    wide, narrow = plain_shape(96, 96, 3, 3, padding=1), plain_shape(99, 1, 32, 32)
    parts: list[Choosable] = [
        Outer(normal(3, 9, 700).float() + 0.5, normal(3, 9, 700, seed=1).float() + 0.5),
        Patches(normal(3, 96, 8, 8).float() + 0.5, normal(3, 96, 8, 8, seed=1).float(), wide),
        Patches(normal(3, 1, 40, 40).float(), normal(3, 99, 9, 9, seed=1).float(), narrow),
    ]
    held = 0
    for part in parts:
        true_norms = reference_rows(part).flatten(1).norm(dim=1)
        for option in part.options():
            if option.name == name:
                clip_norm, held = 0.1, held + 1
                factors = (clip_norm / option.settle()[0]).clamp(max=1)
                assert (factors.double() * true_norms).max() <= clip_norm * (1 + 1e-6)
    assert held


def test_rows_that_are_kept_can_be_cleared_and_given():
    part = Outer(normal(5, 4, 3), normal(5, 4, 2, seed=1))
    part.a[1] = math.nan
    _, rest = next(o for o in part.options() if o.name == "kept").settle()
    drop = torch.tensor([False, True, False, False, False])
    total = rest.without(drop).weighted_sum(torch.tensor([1.0, 0, 1, 1, 1], dtype=torch.float64))
    kept = ~drop
    torch.testing.assert_close(total, torch.einsum("btd,btp->dp", part.a[kept], part.g[kept]))
    torch.testing.assert_close(rest.rows()[kept], (part.a.mT @ part.g)[kept])


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_products_by_either_library(monkeypatch: pytest.MonkeyPatch, *, strided: bool, enabled: bool):
    a, g = normal(3, 130, 90).float(), normal(3, 130, 210, seed=1).float()
    if strided:
        a, g = a.mT.contiguous().mT, g.mT.contiguous().mT
    monkeypatch.setattr(products, "_HAS_ONEDNN", enabled)
    assert products.is_quick(a, 130 * 90 * 210) == enabled
    for left, right in ((a, g), (g, a)):
        torch.testing.assert_close(products.outers(left, right), left.mT @ right, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            products.contract(left[0], right[0]), left[0].T @ right[0], rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(products.grams(left), left @ left.mT, rtol=1e-4, atol=1e-4)


def test_a_compiler_is_given_ordinary_products():
    a, g = normal(130, 90).float(), normal(130, 210, seed=1).float()
    graph = make_fx(products.contract)(a, g)
    before = graph(a, g)
    assert "mkldnn" in graph.code
    products.with_plain_products(graph)
    assert "mkldnn" not in graph.code
    torch.testing.assert_close(graph(a, g), before, rtol=1e-4, atol=1e-4)
