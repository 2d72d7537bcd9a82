"""Attention, recurrent layers and bags of tokens with the options that real models use."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from clifftop.testing.odd_calls import Around
from clifftop.testing.problem import Problem, classes, floats, regression, squared_error, tokens


@final
class CrossAttention(nn.Module):
    """Attention from one sequence to another of other widths, batch first or sequence first."""

    def __init__(self, *, batch_first: bool, bias: bool = True, extra: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            4, 2, kdim=3, vdim=2, batch_first=batch_first, bias=bias, add_bias_kv=extra, add_zero_attn=extra
        )
        self.batch_first = batch_first

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``(B, T, 4)``, ``(B, S, 3)`` and ``(B, S, 2)`` to ``(B, T, 4)``."""
        if self.batch_first:
            return self.attention(query, key, value)[0]
        turned = (x.transpose(0, 1) for x in (query, key, value))
        return self.attention(*turned)[0].transpose(0, 1)


@final
class MaskedAttention(nn.Module):
    """Self-attention that does not see padding; its weights are part of the output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4, padding_idx=0)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` tokens, 0 for padding, to ``(B, T, 4)``."""
        x = self.embedding(ids)
        # The first token is seen whatever it is, so that no row is empty.
        padding = (ids == 0) & (torch.arange(ids.shape[1], device=ids.device) > 0)
        mixed, weights = self.attention(x, x, x, key_padding_mask=padding)
        return torch.tanh(mixed) + weights.sum(dim=1).unsqueeze(2)


@final
class ProductAttention(nn.Module):
    """``scaled_dot_product_attention`` with a mask, separate projections, and perhaps fewer key heads."""

    def __init__(self, *, grouped: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(4, 4, bias=False)
        self.key, self.value = (nn.Linear(4, 2 if grouped else 4, bias=False) for _ in range(2))
        self.out = nn.Linear(4, 4)
        self.grouped = grouped

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to the same."""
        query, key, value = (
            layer(x).unflatten(-1, (-1, 2)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        near = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(-1).tril(1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=near, enable_gqa=self.grouped)
        return self.out(mixed.transpose(1, 2).flatten(2))


@final
class Decoder(nn.Module):
    """A transformer decoder layer that attends to a second input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """``(B, T, 4)`` and ``(B, S, 4)`` to ``(B, T, 4)``."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=x.dtype)
        return self.layer(x, memory, tgt_mask=mask, tgt_is_causal=True)


@final
class Packed(nn.Module):
    """A recurrent layer on packed sequences of given lengths, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``(B, T, 3)`` and ``(B,)`` to ``(B, T, 4)``."""
        packed = pack_padded_sequence(x, lengths.cpu() + 1, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]


@final
class Cells(nn.Module):
    """A cell stepped by hand from a learned state."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.start = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 3)`` to ``(B, T, 4)``."""
        state = self.start.expand(x.shape[0], -1)
        outputs: list[Tensor] = []
        for step in x.unbind(dim=1):
            state = self.cell(step, state)
            outputs.append(state)
        return torch.stack(outputs, dim=1)


@final
class LSTMCells(nn.Module):
    """Two LSTM cells, one on top of the other, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.LSTMCell(3, 4), nn.LSTMCell(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 3)`` to ``(B, 4)``."""
        low = high = (x.new_zeros(x.shape[0], 4), x.new_zeros(x.shape[0], 4))
        for step in x.unbind(dim=1):
            low = self.low(step, low)
            high = self.high(low[0], high)
        return high[0]


@final
class StartedLSTM(nn.Module):
    """An LSTM from a learned state, whose last states come out as well."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.cell = (nn.Parameter(torch.zeros(2, 1, 4)) for _ in range(2))
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 3)`` to ``(B, 4)``."""
        start = tuple(p.expand(-1, x.shape[0], -1).contiguous() for p in (self.hidden, self.cell))
        out, (hidden, cell) = self.lstm(x, start)
        return out[:, -1] * cell[0] + hidden[0]


@final
class GivenWeights(nn.Module):
    """``nn.EmbeddingBag`` whose weights of the tokens are an input."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 3, mode="sum")

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        """``(B, T)`` twice to ``(B, 3)``."""
        return self.bag(ids, per_sample_weights=weights)


@final
class WeightedBag(nn.Module):
    """``nn.EmbeddingBag`` whose weights of the tokens come from another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 3, mode="sum")
        self.scores = nn.Embedding(6, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` to ``(B, 3)``."""
        return self.bag(ids, per_sample_weights=self.scores(ids).squeeze(2).softmax(dim=1))


def _bag(name: str, bag: Callable[[], nn.Module], length: int = 4) -> Problem:
    return classes(name, lambda: nn.Sequential(bag(), nn.Tanh(), nn.Linear(4, 3)), tokens(6, length))


def _recurrent(name: str, build: Callable[[], nn.Module], outputs: int = 4) -> Problem:
    return regression(name, lambda: Around(build(), lambda layer, x: layer(x)[0]), (3, 3), (3, outputs))


def _twice(layer: nn.Module, x: Tensor) -> Tensor:
    first, state = layer(x)
    return layer(torch.tanh(first), state)[0]


def _ids_and_weights(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
    return tokens(6, 4)(rng, size) + floats((4,))(rng, size)


def _rows_and_lengths(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
    return floats((3, 3))(rng, size) + tokens(3)(rng, size)


def _cross(name: str, build: Callable[[], nn.Module]) -> Problem:
    return Problem(
        name=name,
        build=build,
        inputs=floats((3, 4), (2, 3), (2, 2)),
        targets=floats((3, 4)),
        criterion=squared_error,
    )


_ATTENTION = (
    _cross("cross attention", lambda: CrossAttention(batch_first=True)),
    _cross("cross attention sequence first", lambda: CrossAttention(batch_first=False, bias=False)),
    _cross("cross attention with extra keys", lambda: CrossAttention(batch_first=True, extra=True)),
    Problem(
        name="masked attention",
        build=MaskedAttention,
        inputs=tokens(6, 4),
        targets=floats((4, 4)),
        criterion=squared_error,
    ),
    regression("product attention", ProductAttention, (3, 4), (3, 4)),
    regression("grouped-query attention", lambda: ProductAttention(grouped=True), (3, 4), (3, 4)),
    regression(
        "transformer encoder",
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=True),
            2,
            enable_nested_tensor=False,
        ),
        (3, 4),
        (3, 4),
    ),
    Problem(
        name="transformer decoder layer",
        build=Decoder,
        inputs=floats((3, 4), (2, 4)),
        targets=floats((3, 4)),
        criterion=squared_error,
    ),
)

_RECURRENT = (
    _recurrent("rnn tanh", lambda: nn.RNN(3, 4, batch_first=True)),
    _recurrent("rnn relu", lambda: nn.RNN(3, 4, nonlinearity="relu", batch_first=True, bias=False)),
    _recurrent("lstm projected", lambda: nn.LSTM(3, 4, proj_size=2, batch_first=True), 2),
    _recurrent("lstm stacked", lambda: nn.LSTM(3, 4, num_layers=3, batch_first=True)),
    _recurrent("gru bidirectional", lambda: nn.GRU(3, 2, bidirectional=True, batch_first=True)),
    regression("lstm twice", lambda: Around(nn.LSTM(4, 4, batch_first=True), _twice), (3, 4), (3, 4)),
    regression("lstm from a learned state", StartedLSTM, (3, 3), (4,)),
    regression("gru cells", lambda: Cells(nn.GRUCell(3, 4)), (3, 3), (3, 4)),
    regression("rnn cells", lambda: Cells(nn.RNNCell(3, 4)), (3, 3), (3, 4)),
    regression("lstm cells", LSTMCells, (3, 3), (4,)),
    Problem(
        name="packed sequences",
        build=Packed,
        inputs=_rows_and_lengths,
        targets=floats((3, 4)),
        criterion=squared_error,
    ),
)

_BAGS = (
    _bag("embedding bag sum", lambda: nn.EmbeddingBag(6, 4, mode="sum")),
    _bag("embedding bag max", lambda: nn.EmbeddingBag(6, 4, mode="max")),
    _bag("embedding bag with padding", lambda: nn.EmbeddingBag(6, 4, mode="mean", padding_idx=1)),
    _bag("embedding bag of one", lambda: nn.EmbeddingBag(6, 4), length=1),
    Problem(
        name="embedding bag with weights",
        build=GivenWeights,
        inputs=_ids_and_weights,
        targets=floats((3,)),
        criterion=squared_error,
    ),
    classes("embedding bag with learned weights", WeightedBag, tokens(6, 4)),
    classes(
        "embedding on three axes",
        lambda: nn.Sequential(nn.Embedding(6, 2), nn.Flatten(), nn.Linear(8, 3)),
        tokens(6, 2, 2),
    ),
    classes(
        "embedding twice",
        lambda: Around(nn.Embedding(6, 3), lambda table, ids: table(ids[:, 0]) * table(ids[:, 1])),
        tokens(6, 2),
    ),
)

SEQUENCE_PROBLEMS: tuple[Problem, ...] = (*_ATTENTION, *_RECURRENT, *_BAGS)
"""Attention, recurrent layers and bags of tokens."""
