"""Small models with no per-example gradient: random without a named stream, or mixing the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NoisyForward(nn.Module):
    """Adds random numbers of the global generator to its hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        hidden = self.linear(x)
        return hidden + 0.1 * torch.randn_like(hidden)


class Standardised(nn.Module):
    """Subtracts the mean of the batch: every example's output depends on all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        hidden = torch.tanh(self.linear(x))
        return hidden - hidden.mean(dim=0)


class FunctionalBatchNorm(nn.Module):
    """Batch statistics with no batch normalisation layer to be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 1, H, W)`` to ``(B, 3)``."""
        hidden = F.batch_norm(self.first(x), None, None, training=True)
        return self.head(hidden.square().tanh().mean(dim=(2, 3)))


class AttentionOverBatch(nn.Module):
    """A sequence layer given ``(B, d)``: it takes the batch for a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 4)``."""
        hidden = self.linear(x)
        return torch.softmax(hidden @ hidden.t(), dim=-1) @ hidden


class DividedByBatchSize(nn.Module):
    """Divides by how many examples there are: one more example changes every gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return self.linear(x) / x.shape[0]


class HandStandardised(nn.Module):
    """Mean and spread of the batch, taken by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        hidden = self.linear(x)
        centred = hidden - hidden.mean(dim=0)
        return centred * torch.rsqrt(centred.square().mean(dim=0) + 0.1)


class SoftmaxOverBatch(nn.Module):
    """A softmax over the examples instead of the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return torch.softmax(self.linear(x), dim=0)


class Ranked(nn.Module):
    """Every feature's values sorted over the batch: rank b goes to example b."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return torch.sort(self.linear(x), dim=0, descending=True).values


class AttentionAcrossExamples(nn.Module):
    """``nn.MultiheadAttention`` told that the batch is the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to the same: examples attend to each other."""
        return self.attention(x, x, x)[0]


class NeighbourMixed(nn.Module):
    """Each example gets a share of the one before it (mixup without new data)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return self.linear(0.7 * x + 0.3 * x.roll(1, dims=0))


class CumulativeState(nn.Module):
    """A running sum over the examples: later ones depend on earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return torch.tanh(self.linear(x)).flip(0).cumsum(dim=0).flip(0)


class RecurrentOverBatch(nn.Module):
    """A recurrent layer with the two first axes mixed up: the state goes from example to example."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(4, 3, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, 4)`` to ``(B, T, 6)``."""
        return self.layer(x)[0]


class HardestExample(nn.Module):
    """Scales by the largest value in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        hidden = self.linear(x)
        return hidden / (1 + hidden.abs().amax())
