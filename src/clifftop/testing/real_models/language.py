"""Language models: GPT, a T5-like gated encoder, and attention by einsum with a mixture of experts."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalAttention(nn.Module):
    """Causal self-attention with one fused projection for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(x).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class GPTBlock(nn.Module):
    """Pre-norm causal attention and a GELU MLP of four times the width, each with a skip connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@final
class GPT(nn.Module):
    """A decoder-only language model with learned positions (Radford et al. 2019).

    The defaults are the smallest GPT-2. ``tied`` shares the token embedding with the output layer.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in GPT().parameters())
    124439808
    """

    def __init__(
        self,
        *,
        num_layers: int = 12,
        width: int = 768,
        heads: int = 12,
        context: int = 1024,
        vocabulary: int = 50257,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(GPTBlock(width, heads) for _ in range(num_layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` token numbers to logits ``(B, T, vocabulary)``, with T at most ``context``."""
        where = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.positions(where))))


class RootMeanSquareNorm(nn.Module):
    """Scales by the root mean square, with no mean and no bias (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` to the same."""
        return self.weight * (x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.eps))


class GatedMLP(nn.Module):
    """A bias-free MLP whose hidden units are gated (SwiGLU: Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` to the same."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class GatedBlock(nn.Module):
    """Bias-free attention with a bias given for each pair of positions, then a gated MLP."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = RootMeanSquareNorm(width), RootMeanSquareNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.mlp = GatedMLP(width, hidden)
        self.heads = heads

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """``(B, T, width)`` and ``(heads, T, T)`` to ``(B, T, width)``."""
        normed = self.norm1(x)
        query, key, value = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = (query @ key.transpose(-2, -1) + bias).softmax(dim=-1) @ value
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


@final
class GatedEncoder(nn.Module):
    """A T5-like encoder (Raffel et al. 2019, arXiv:1910.10683) with SwiGLU units and a token head.

    One table of relative position biases serves every layer.
    """

    def __init__(
        self,
        *,
        num_layers: int = 12,
        width: int = 768,
        heads: int = 12,
        hidden: int = 2048,
        max_distance: int = 128,
        vocabulary: int = 32128,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.distances = nn.Embedding(2 * max_distance + 1, heads)
        self.blocks = nn.ModuleList(GatedBlock(width, heads, hidden) for _ in range(num_layers))
        self.norm = RootMeanSquareNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.max_distance = max_distance

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` token numbers to logits ``(B, T, vocabulary)``."""
        where = torch.arange(ids.shape[1], device=ids.device)
        apart = (where[:, None] - where[None]).clamp(-self.max_distance, self.max_distance)
        bias = self.distances(apart + self.max_distance).permute(2, 0, 1)
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x, bias)
        return self.head(self.norm(x))


@final
class EinsumMixture(nn.Module):
    """Attention and a soft mixture of experts, all of it ``einsum`` with bare parameters."""

    def __init__(self, *, width: int = 256, heads: int = 4, experts: int = 8, hidden: int = 512) -> None:
        super().__init__()
        inner = width // heads
        self.query, self.key, self.value = (
            nn.Parameter(width**-0.5 * torch.randn(width, heads, inner)) for _ in range(3)
        )
        self.out = nn.Parameter(width**-0.5 * torch.randn(heads, inner, width))
        self.router = nn.Parameter(width**-0.5 * torch.randn(experts, width))
        self.up = nn.Parameter(width**-0.5 * torch.randn(experts, width, hidden))
        self.up_bias = nn.Parameter(torch.zeros(experts, hidden))
        self.down = nn.Parameter(hidden**-0.5 * torch.randn(experts, hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same."""
        query, key, value = (
            torch.einsum("btd,dhk->bthk", x, weight) for weight in (self.query, self.key, self.value)
        )
        scores = torch.einsum("bqhk,bshk->bhqs", query, key) * query.shape[-1] ** -0.5
        mixed = torch.einsum("bhqs,bshk->bqhk", scores.softmax(dim=-1), value)
        x = x + torch.einsum("bthk,hkd->btd", mixed, self.out)
        gates = torch.einsum("btd,ed->bte", x, self.router).softmax(dim=-1)
        hidden = F.gelu(torch.einsum("btd,edf->btef", x, self.up) + self.up_bias)
        return x + torch.einsum("bte,btef,efd->btd", gates, hidden, self.down)
