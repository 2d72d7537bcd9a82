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
