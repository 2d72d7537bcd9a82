"""Small models of tokens and sequences that do what real ones do and engines forget."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TiedLanguageModel(nn.Module):
    """An embedding whose weight is also the output layer's: one parameter, two uses."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` tokens to ``(B, T, 7)`` logits."""
        return self.head(torch.tanh(self.mix(self.embedding(ids))))


class ClassToken(nn.Module):
    """A parameter outside any leaf, expanded over the examples and prepended to the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.mix = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to ``(B, 4)``."""
        sequence = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        return torch.tanh(self.mix(sequence)).prod(dim=1)


class EinsumParameter(nn.Module):
    """A weight that enters by einsum, one matrix a head."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to ``(B, T, 2, 3)``."""
        return torch.tanh(torch.einsum("btd,hdk->bthk", x, self.weight))


class Attention(nn.Module):
    """``nn.MultiheadAttention`` on itself, examples on the first or second axis inside."""

    def __init__(self, *, batch_first: bool, need_weights: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first, dropout=dropout)
        self.batch_first = batch_first
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to ``(B, T, 4)``."""
        x = x if self.batch_first else x.transpose(0, 1)
        out, _ = self.attention(x, x, x, need_weights=self.need_weights)
        return out if self.batch_first else out.transpose(0, 1)


class CausalBlock(nn.Module):
    """A pre-norm transformer block with fused projections and causal attention."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_one, self.norm_two = nn.LayerNorm(4), nn.LayerNorm(4)
        self.project = nn.Linear(4, 12)
        self.out = nn.Linear(4, 4, bias=False)
        self.feed = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4), nn.Dropout(dropout))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to ``(B, T, 4)``."""
        heads = self.project(self.norm_one(x)).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True, dropout_p=rate)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        return x + self.feed(self.norm_two(x))


class Recurrent(nn.Module):
    """The outputs of a recurrent layer, whatever else it returns."""

    def __init__(self, layer: nn.Module, *, sequence_first: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.sequence_first = sequence_first

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, d)`` to ``(B, T, h)``."""
        x = x.transpose(0, 1) if self.sequence_first else x
        out = self.layer(x)[0]
        return out.transpose(0, 1) if self.sequence_first else out


class Transposed(nn.Module):
    """Layers that see ``(T, B, d)``: the examples lie on the second axis."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, d)`` to ``(B, T, e)``."""
        return self.layers(x.transpose(0, 1)).transpose(0, 1)


class Positions(nn.Module):
    """Token and position embeddings; the positions have no example axis."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(7, 4)
        self.position = nn.Embedding(3, 4)
        self.head = nn.Linear(4, 7)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, 3)`` tokens to ``(B, 3, 7)`` logits."""
        where = torch.arange(ids.shape[1], device=ids.device)
        return self.head(torch.tanh(self.token(ids) + self.position(where)))


class MergedAxes(nn.Module):
    """Examples and positions merged into one axis around a linear layer."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to ``(B, T, 3)``."""
        merged = self.dropout(torch.tanh(self.inner(x.reshape(-1, x.shape[-1]))))
        return self.head(merged).reshape(*x.shape[:2], 3)


class Bag(nn.Module):
    """``nn.EmbeddingBag`` on ``(B, T)`` tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 4, mode="mean")
        self.head = nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` to ``(B, 3)``."""
        return self.head(self.bag(ids))


class Mean(nn.Module):
    """The mean over one axis."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """``x`` without axis ``dim``."""
        return x.mean(dim=self.dim)
