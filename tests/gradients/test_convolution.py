"""The convolution rule against the gradient of each example alone, for every geometry."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from clifftop.gradients.rules import patches
from clifftop.gradients.rules.base import LeafCall
from clifftop.gradients.rules.convolution import CONVOLUTIONS, ConvolutionRule

# PyTorch says so of "same" with an even kernel; the rule pads by itself.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

R, B = 2, 3
GEOMETRIES = {
    "plain": (nn.Conv2d(2, 4, 3), (6, 5)),
    "strided": (nn.Conv2d(2, 4, (3, 2), stride=(2, 3), padding=(1, 2)), (7, 6)),
    "uneven stride": (nn.Conv2d(2, 4, 2, stride=3), (7, 6)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1, bias=False), (5, 5)),
    "dilated": (nn.Conv2d(2, 3, (3, 2), dilation=(2, 3), padding=2), (6, 6)),
    "same, even kernel": (nn.Conv2d(2, 3, 4, padding="same"), (5, 6)),
    "valid": (nn.Conv2d(2, 3, 2, padding="valid"), (4, 4)),
    "circular": (nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular"), (5, 5)),
    "reflect": (nn.Conv2d(2, 3, 3, padding=1, stride=2, padding_mode="reflect"), (5, 5)),
    "replicate, same": (nn.Conv2d(2, 3, 4, padding="same", padding_mode="replicate"), (5, 5)),
    "pointwise": (nn.Conv2d(5, 7, 1), (3, 3)),
    "few positions": (nn.Conv2d(8, 12, 3), (4, 4)),
    "few positions, grouped": (nn.Conv2d(8, 32, 3, groups=2, stride=2, padding=1, dilation=2), (5, 6)),
    "few positions, circular": (nn.Conv2d(8, 12, 3, padding=1, stride=2, padding_mode="circular"), (4, 4)),
    "1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (9,)),
    "1d few positions": (nn.Conv1d(24, 48, 3, dilation=2, padding=1, groups=2), (6,)),
    "1d same": (nn.Conv1d(3, 4, 4, padding="same"), (6,)),
    "3d": (nn.Conv3d(2, 3, (2, 1, 2), stride=(1, 2, 1), padding=(0, 1, 1)), (3, 4, 3)),
    "3d circular": (nn.Conv3d(2, 3, 3, padding=1, padding_mode="circular"), (3, 3, 3)),
    "transposed 1d": (nn.ConvTranspose1d(2, 3, 3, stride=2, output_padding=1), (4,)),
    "transposed 2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, dilation=2), (3, 4)),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2, stride=2, bias=False), (2, 2, 3)),
}
GHOSTS = {"few positions", "few positions, grouped", "few positions, circular", "1d few positions"}


def case_of(name: str) -> tuple[LeafCall, dict[str, torch.Tensor]]:
    """A call of the rule, and each example's gradients by autograd, one example at a time."""
    module, sizes = GEOMETRIES[name]
    module = module.double()
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(R, B, module.in_channels, *sizes, generator=rng, dtype=torch.float64)
    outputs = module(x.flatten(0, 1)).unflatten(0, (R, B))
    g = torch.randn(outputs.shape, generator=rng, dtype=torch.float64)
    names = [n for n, _ in module.named_parameters()]
    rows = {n: torch.zeros(R, B, *p.shape, dtype=torch.float64) for n, p in module.named_parameters()}
    for r, b in product(range(R), range(B)):
        alone = (module(x[r, b : b + 1]) * g[r, b : b + 1]).sum()
        for n, grad in zip(names, torch.autograd.grad(alone, list(module.parameters())), strict=True):
            rows[n][r, b] = grad
    call = LeafCall(
        path="layer",
        module=module,
        names={n: f"layer.{n}" for n in names},
        inputs=(x,),
        input_has_examples=(True,),
        output_grads=(g,),
    )
    return call, rows


@pytest.mark.parametrize("name", GEOMETRIES)
def test_equals_one_example_at_a_time(name: str):
    call, rows = case_of(name)
    rule = ConvolutionRule()
    weights = torch.randn(R, B, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    instantiated, norms = rule.instantiate(call), rule.sq_norms(call)
    sums = rule.weighted_sum(call, dict.fromkeys(rows, weights))
    assert instantiated.keys() == norms.keys() == sums.keys() == rows.keys()
    for n, row in rows.items():
        torch.testing.assert_close(instantiated[n], row, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(norms[n], row.flatten(2).square().sum(-1), rtol=1e-11, atol=0)
        total = torch.einsum("rb,rb...->r...", weights, row)
        torch.testing.assert_close(sums[n], total, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_only_asked_parameters_come_back(name: str):
    call, _ = case_of(name)
    for n in call.names:
        one = LeafCall(**{**vars(call), "names": {n: call.names[n]}})
        assert ConvolutionRule().sq_norms(one).keys() == {n}
        assert ConvolutionRule().instantiate(one).keys() == {n}
        assert ConvolutionRule().weighted_sum(one, {n: torch.ones(R, B).double()}).keys() == {n}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_ghost_norms_where_positions_are_few(name: str, monkeypatch: pytest.MonkeyPatch):
    """The table's ghosts form no gradient, the others no product of patches: both ways are tested."""
    call, _ = case_of(name)
    used: list[str] = []
    for way in ("ghost_sq_norms", "_instantiated_sq_norms"):
        real = getattr(patches, way)
        monkeypatch.setattr(patches, way, lambda *a, real=real, way=way: used.append(way) or real(*a))
    ConvolutionRule().sq_norms(call)
    assert used == ["ghost_sq_norms" if name in GHOSTS else "_instantiated_sq_norms"]


@pytest.mark.parametrize("name", ["plain", "few positions", "transposed 2d"])
def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch):
    call, rows = case_of(name)
    monkeypatch.setattr(patches, "_ENTRIES_ON_CPU", 1)
    norms, rows_now = (
        ConvolutionRule().sq_norms(call)["weight"],
        ConvolutionRule().instantiate(call)["weight"],
    )
    torch.testing.assert_close(rows_now, rows["weight"], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(norms, rows["weight"].flatten(2).square().sum(-1), rtol=1e-11, atol=0)


def test_an_asked_output_size_is_read_from_the_shapes():
    module = nn.ConvTranspose2d(2, 3, 3, stride=3).double()
    x = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = module(x[0], output_size=[11, 10])
    grad = torch.autograd.grad(out.sin().sum(), module.weight)[0]
    call = LeafCall(
        path="",
        module=module,
        names={"weight": "weight"},
        inputs=(x,),
        input_has_examples=(True,),
        output_grads=(out.detach().cos().unsqueeze(0),),
    )
    total = ConvolutionRule().weighted_sum(call, {"weight": torch.ones(1, 2, dtype=torch.float64)})
    torch.testing.assert_close(total["weight"][0], grad, rtol=1e-11, atol=1e-12)


def test_every_convolution_of_torch_is_covered():
    tested = {type(module) for module, _ in GEOMETRIES.values()}
    assert tested == set(CONVOLUTIONS)
