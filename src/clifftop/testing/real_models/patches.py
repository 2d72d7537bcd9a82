"""Networks that see an image as patches: ViT, windowed attention (Swin), MLP-Mixer."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    """Pre-norm ``nn.MultiheadAttention`` and an MLP, each with a skip connection."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same."""
        normed = self.norm1(x)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        x = x + mixed
        return x + self.mlp(self.norm2(x))


@final
class ViT(nn.Module):
    """The vision transformer of Dosovitskiy et al. (2020, arXiv:2010.11929); the defaults are ViT-B/16.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in ViT().parameters())
    86567656
    """

    def __init__(
        self,
        *,
        image: int = 224,
        patch: int = 16,
        num_layers: int = 12,
        width: int = 768,
        heads: int = 12,
        mlp_width: int = 3072,
        channels: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads, mlp_width) for _ in range(num_layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, image, image)`` to ``(B, num_classes)``."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        sequence = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        return self.head(self.norm(self.blocks(sequence + self.positions))[:, 0])


def _offsets(window: int) -> Tensor:
    """Index into the table of relative positions for each pair of a window's cells, ``(N, N)``."""
    cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    apart = cells[:, None] - cells[None] + window - 1
    return apart[..., 0] * (2 * window - 1) + apart[..., 1]


class WindowAttention(nn.Module):
    """Attention inside windows, shifted or not, with a learned bias for each relative position."""

    def __init__(self, width: int, heads: int, window: int, *, shift: int = 0) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.bias_table = nn.Parameter(0.02 * torch.randn((2 * window - 1) ** 2, heads))
        self.register_buffer("offsets", _offsets(window))
        self.heads, self.window, self.shift = heads, window, shift

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, width)`` to the same; ``window`` divides H and W."""
        size, height, width, features = x.shape
        side = self.window
        x = torch.roll(x, (-self.shift, -self.shift), dims=(1, 2)) if self.shift else x
        grid = (size, height // side, side, width // side, side, features)
        windows = x.reshape(grid).transpose(2, 3).reshape(-1, side * side, features)
        heads = self.project(windows).unflatten(-1, (3, self.heads, features // self.heads))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        bias = self.bias_table[self.get_buffer("offsets").reshape(-1)]
        bias = bias.reshape(side * side, side * side, self.heads).permute(2, 0, 1)
        scores = query @ key.transpose(-2, -1) * (features // self.heads) ** -0.5 + bias
        scores = self._masked(scores, size, height, width)
        mixed = self.out((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))
        grid = (size, height // side, width // side, side, side, features)
        x = mixed.reshape(grid).transpose(2, 3).reshape(size, height, width, features)
        return torch.roll(x, (self.shift, self.shift), dims=(1, 2)) if self.shift else x

    def _masked(self, scores: Tensor, size: int, height: int, width: int) -> Tensor:
        """Cells that the shift brought together from opposite borders do not see each other."""
        if not self.shift:
            return scores
        side, shift = self.window, self.shift
        regions = torch.zeros(height, width, device=scores.device)
        parts = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
        for i, rows in enumerate(parts):
            for j, columns in enumerate(parts):
                regions[rows, columns] = 3 * i + j
        cells = (
            regions.reshape(height // side, side, width // side, side).transpose(1, 2).reshape(-1, side**2)
        )
        apart = cells[:, None] != cells[:, :, None]
        kept = scores.unflatten(0, (size, len(cells))).masked_fill(apart[None, :, None], -100.0)
        return kept.flatten(0, 1)


class SwinBlock(nn.Module):
    """Pre-norm window attention and an MLP, each with a skip connection."""

    def __init__(self, width: int, heads: int, window: int, *, shift: int = 0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window, shift=shift)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, width)`` to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@final
class Swin(nn.Module):
    """One stage of the shifted-window transformer of Liu et al. (2021, arXiv:2103.14030), with a head."""

    def __init__(
        self,
        *,
        patch: int = 4,
        num_pairs: int = 1,
        width: int = 96,
        heads: int = 3,
        window: int = 7,
        channels: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.blocks = nn.Sequential(
            *(
                SwinBlock(width, heads, window, shift=shift)
                for _ in range(num_pairs)
                for shift in (0, window // 2)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, num_classes)``."""
        cells = self.blocks(self.patches(x).permute(0, 2, 3, 1))
        return self.head(self.norm(cells).mean(dim=(1, 2)))


class MixerBlock(nn.Module):
    """An MLP over the tokens, on the transposed sequence, then one over the features."""

    def __init__(self, tokens: int, width: int, token_width: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_tokens = nn.Sequential(
            nn.Linear(tokens, token_width), nn.GELU(), nn.Linear(token_width, tokens)
        )
        self.over_features = nn.Sequential(
            nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, tokens, width)`` to the same."""
        x = x + self.over_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.over_features(self.norm2(x))


@final
class MLPMixer(nn.Module):
    """The all-MLP network of Tolstikhin et al. (2021, arXiv:2105.01601); the defaults are Mixer-S/16.

    >>> sum(p.numel() for p in MLPMixer().parameters())
    18528264
    """

    def __init__(
        self,
        *,
        image: int = 224,
        patch: int = 16,
        num_layers: int = 8,
        width: int = 512,
        token_width: int = 256,
        mlp_width: int = 2048,
        channels: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        tokens = (image // patch) ** 2
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.blocks = nn.Sequential(
            *(MixerBlock(tokens, width, token_width, mlp_width) for _ in range(num_layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, image, image)`` to ``(B, num_classes)``."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))
