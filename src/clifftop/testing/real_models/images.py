"""Networks for images with group norm: residual, wide residual, U-shaped, ConvNeXt."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters are standardised before use (Qiao et al. 2019, arXiv:1903.10520)."""

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D, H', W')``."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-6)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, normalised after each convolution (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.GroupNorm(groups, outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        hidden = F.relu(self.norm1(self.conv1(x)), inplace=True)
        hidden = self.norm2(self.conv2(hidden))
        hidden += self.shortcut(x)
        return F.relu(hidden)


@final
class ResNet(nn.Module):
    """The residual network of He et al. (2015, arXiv:1512.03385) for 32 x 32 images, with group norm.

    Three stages of ``blocks`` blocks; 3 blocks a stage make ResNet-20.

    >>> sum(p.numel() for p in ResNet().parameters())
    272474
    """

    def __init__(
        self, *, blocks: int = 3, width: int = 16, groups: int = 4, channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU()
        )
        stages: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            outputs = width * 2**stage
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(inputs, outputs, stride, groups))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, num_classes)``."""
        return self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))


class WideBlock(nn.Module):
    """A pre-activation block: norm, ReLU, convolution, twice; the shortcut leaves after the first ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, conv: type[nn.Conv2d]) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = conv(inputs, outputs, 3, stride=stride, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = conv(outputs, outputs, 3, padding=1)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else conv(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        hidden = F.relu(self.norm1(x))
        skipped = x if self.shortcut is None else self.shortcut(hidden)
        hidden = self.conv2(F.relu(self.norm2(self.conv1(hidden))))
        return skipped + hidden


@final
class WideResNet(nn.Module):
    """A wide residual network with group norm, as De et al. (2022, arXiv:2204.13650) train privately.

    ``depth = 6 n + 4`` layers in three stages; the defaults are WRN-16-4 for 32 x 32 colour images.
    De et al. also standardise the filters: ``standardised=True``.

    >>> sum(p.numel() for p in WideResNet().parameters())
    2751146
    """

    def __init__(
        self,
        *,
        depth: int = 16,
        widening: int = 4,
        width: int = 16,
        groups: int = 16,
        channels: int = 3,
        num_classes: int = 10,
        standardised: bool = False,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(
                f"depth must be 6 n + 4 with n >= 1, found depth={depth}; take 10, 16, 22, 28, 40"
            )
        conv = StandardisedConv2d if standardised else nn.Conv2d
        self.stem = conv(channels, width, 3, padding=1)
        stages: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            outputs = width * widening * 2**stage
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(WideBlock(inputs, outputs, stride, groups, conv))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.norm = nn.GroupNorm(groups, inputs)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, num_classes)``."""
        return self.head(F.relu(self.norm(self.stages(self.stem(x)))).mean(dim=(2, 3)))


def _double_conv(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(groups, outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(groups, outputs),
        nn.ReLU(inplace=True),
    )


@final
class UNet(nn.Module):
    """The U-shaped segmentation network of Ronneberger et al. (2015, arXiv:1505.04597), with group norm."""

    def __init__(
        self, *, levels: int = 4, width: int = 64, groups: int = 8, channels: int = 3, num_classes: int = 2
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(
            _double_conv(i, o, groups) for i, o in zip([channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.bottom = _double_conv(widths[-2], widths[-1], groups)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[-2::-1])
        self.merge = nn.ModuleList(_double_conv(2 * w, w, groups) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to logits ``(B, num_classes, H, W)``; sides must divide by 2^levels."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for rise, block in zip(self.up, self.merge, strict=True):
            x = block(torch.cat([skips.pop(), rise(x)], dim=1))
        return self.head(x)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7, then channels-last norm and MLP, then a learned scale a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, H, W)`` to the same."""
        hidden = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        hidden = self.layer_scale * self.contract(F.gelu(self.expand(hidden)))
        return x + hidden.permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.LayerNorm):
    """Layer norm over axis 1 of an image."""

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@final
class ConvNeXt(nn.Module):
    """The convolutional network of Liu et al. (2022, arXiv:2201.03545); the defaults are its tiny size.

    >>> sum(p.numel() for p in ConvNeXt().parameters())
    28589128
    """

    def __init__(
        self,
        *,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        widths: tuple[int, ...] = (96, 192, 384, 768),
        patch: int = 4,
        channels: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], patch, stride=patch),
            ChannelsFirstNorm(widths[0], eps=1e-6),
        ]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage:
                layers += [ChannelsFirstNorm(widths[stage - 1], eps=1e-6)]
                layers += [nn.Conv2d(widths[stage - 1], width, 2, stride=2)]
            layers += [ConvNeXtBlock(width) for _ in range(depth)]
        self.body = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, num_classes)``."""
        return self.head(self.norm(self.body(x).mean(dim=(2, 3))))
