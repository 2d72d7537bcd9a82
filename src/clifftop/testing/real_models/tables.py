"""A recommender with embedding tables, and low-rank adapters over frozen layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@final
class DLRM(nn.Module):
    """The recommender of Naumov et al. (2019, arXiv:1906.00091): tables, two MLPs, dot interaction.

    Args:
        rows: how many rows each table has.
        width: of an embedding, and of the bottom MLP's output.
        dense: how many dense features there are.
        bottom: hidden widths of the MLP on the dense features.
        top: hidden widths of the MLP on the interactions.
        sparse: whether the tables' ordinary gradients are sparse tensors.
    """

    def __init__(
        self,
        *,
        rows: Sequence[int] = (1_000_000, 100_000, 10_000, 1000),
        width: int = 16,
        dense: int = 13,
        bottom: Sequence[int] = (512, 256),
        top: Sequence[int] = (512, 256),
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(n, width, mode="sum", sparse=sparse) for n in rows)
        self.bottom = nn.Sequential(_mlp([dense, *bottom, width]), nn.ReLU())
        pairs = torch.tril_indices(len(rows) + 1, len(rows) + 1, offset=-1)
        self.register_buffer("pairs", pairs)
        self.top = _mlp([pairs.shape[1] + width, *top, 1])

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        """``(B, dense)`` and ``(B, tables, bag)`` row numbers to logits ``(B,)``."""
        bottom = self.bottom(dense)
        looked_up = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        vectors = torch.stack([bottom, *looked_up], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        first, second = self.get_buffer("pairs")
        return self.top(torch.cat([bottom, products[:, first, second]], dim=1)).squeeze(1)


class LoRALinear(nn.Module):
    """A frozen linear layer and a low-rank adapter beside it (Hu et al. 2021, arXiv:2106.09685)."""

    def __init__(self, inputs: int, outputs: int, *, rank: int, scale: float) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(requires_grad=False)
        self.a = nn.Linear(inputs, rank, bias=False)
        self.b = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.b.weight)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        return self.base(x) + self.scale * self.b(self.a(x))


class MergedLoRALinear(nn.Module):
    """The same layer with the adapter added to the weight before it is used."""

    def __init__(self, inputs: int, outputs: int, *, rank: int, scale: float) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(requires_grad=False)
        self.a = nn.Parameter(inputs**-0.5 * torch.randn(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        return F.linear(x, self.base.weight + self.scale * (self.b @ self.a), self.base.bias)


def lora_mlp(
    widths: Sequence[int] = (784, 1024, 1024, 10), *, rank: int = 8, scale: float = 2.0, merged: bool = False
) -> nn.Sequential:
    """An MLP of frozen linear layers, with an adapter on each."""
    layer = MergedLoRALinear if merged else LoRALinear
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [layer(inputs, outputs, rank=rank, scale=scale), nn.GELU()]
    return nn.Sequential(*layers[:-1])
