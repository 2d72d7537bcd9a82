"""Convolutions, normalisations and bilinear layers, with every option that changes their arithmetic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.testing.odd_calls import Around
from clifftop.testing.problem import Problem, classes, floats, image, regression, squared_error


def _causal(conv: nn.Module, x: Tensor) -> Tensor:
    return conv(F.pad(x, (2, 0)))


_IMAGES = (
    image(
        "conv",
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2)),
    ),
    image(
        "conv strided",
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, (3, 2), stride=(2, 3), padding=(1, 2)),
            nn.Tanh(),
            nn.Conv2d(3, 2, 2, stride=2, bias=False),
        ),
    ),
    image(
        "conv grouped",
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Conv2d(4, 4, 3, groups=4, padding=1)
        ),
    ),
    image(
        "conv dilated",
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2, dilation=(2, 3), padding=1),
            nn.Tanh(),
            nn.Conv2d(3, 2, 3, dilation=2, padding="same"),
        ),
    ),
    image("conv circular", lambda: nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular")),
    image("conv reflect", lambda: nn.Conv2d(2, 3, 3, padding=1, stride=2, padding_mode="reflect")),
    image(
        "conv 1d",
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3, padding="same"), nn.Tanh(), nn.Conv1d(4, 2, 2, stride=2, groups=2)
        ),
        (3, 7),
    ),
    image("conv 3d", lambda: nn.Conv3d(2, 2, (2, 1, 2), stride=(1, 2, 1), padding=(0, 1, 1)), (2, 3, 3, 2)),
    image(
        "conv transposed",
        lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
        (2, 3, 3),
    ),
    image("conv twice", lambda: nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1)] * 2)),
    classes(
        "cnn with a head",
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.GroupNorm(1, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        floats((1, 6, 6)),
    ),
)

_NORMALISED = (
    image("group norm", lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 2)), (4, 3, 3)),
    image(
        "instance norm",
        lambda: nn.Sequential(nn.InstanceNorm2d(2, affine=True), nn.Conv2d(2, 2, 2)),
        (2, 3, 3),
    ),
    regression(
        "layer norm",
        lambda: nn.Sequential(nn.LayerNorm([3, 4]), nn.Linear(4, 2), nn.LayerNorm(2)),
        (3, 4),
        (3, 2),
    ),
    regression(
        "layer norm without affine",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5, elementwise_affine=False), nn.Linear(5, 2)),
        (4,),
        (2,),
    ),
    regression(
        "rms norm", lambda: nn.Sequential(nn.Linear(4, 5), nn.RMSNorm(5), nn.Linear(5, 2)), (4,), (2,)
    ),
    regression(
        "batch norm in eval mode",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)),
        (4,),
        (2,),
        training=False,
    ),
)

_CONVOLUTIONS = (
    image("conv 1d dilated", lambda: nn.Conv1d(3, 4, 3, dilation=2, stride=2, padding=3), (3, 8)),
    image("conv 1d replicate", lambda: nn.Conv1d(3, 2, 3, padding=2, padding_mode="replicate"), (3, 5)),
    image("conv 1d causal", lambda: Around(nn.Conv1d(2, 3, 3), _causal), (2, 5)),
    image("conv 1d depthwise", lambda: nn.Conv1d(4, 8, 3, groups=4, bias=False), (4, 5)),
    image(
        "conv one by one", lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Conv2d(3, 2, 1, stride=2))
    ),
    image(
        "conv grouped, strided, dilated",
        lambda: nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        (4, 5, 6),
    ),
    image(
        "conv 2d replicate", lambda: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="replicate"), (2, 4, 4)
    ),
    image(
        "conv circular grouped",
        lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2, padding_mode="circular"),
        (4, 4, 4),
    ),
    image("conv with rows left over", lambda: nn.Conv2d(2, 2, 3, stride=3, padding=1), (2, 6, 7)),
    image("conv of the whole image", lambda: nn.Conv2d(2, 3, 4), (2, 4, 4)),
    image("conv padded beyond the image", lambda: nn.Conv2d(1, 2, 3, padding=3), (1, 2, 2)),
    image(
        "conv 3d grouped", lambda: nn.Conv3d(2, 4, 2, groups=2, dilation=(1, 2, 1), padding=1), (2, 2, 3, 3)
    ),
    image("conv 3d reflect", lambda: nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect"), (1, 3, 3, 3)),
    image("conv transposed 1d", lambda: nn.ConvTranspose1d(4, 2, 3, stride=2, groups=2, dilation=2), (4, 3)),
    image(
        "conv transposed grouped",
        lambda: nn.ConvTranspose2d(4, 6, (2, 3), stride=(1, 2), padding=(0, 1), groups=2, dilation=(2, 1)),
        (4, 3, 2),
    ),
    image(
        "conv transposed 3d", lambda: nn.ConvTranspose3d(2, 2, 2, stride=(1, 2, 1), bias=False), (2, 2, 2, 2)
    ),
    image(
        "conv transposed twice",
        lambda: nn.Sequential(*[nn.ConvTranspose2d(2, 2, 2, padding=1)] * 2),
        (2, 4, 4),
    ),
    image(
        "upsampled and shuffled",
        lambda: nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(2, 8, 3), nn.PixelShuffle(2), nn.AvgPool2d(2)
        ),
        (2, 3, 3),
    ),
    image(
        "depthwise separable",
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, padding=1), nn.Hardswish(), nn.Conv2d(6, 2, 1)),
        (3, 4, 4),
    ),
)

_MORE_NORMALISED = (
    regression(
        "group norm of vectors", lambda: nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(3, 6)), (4,), (6,)
    ),
    image(
        "group norm of sequences",
        lambda: nn.Sequential(nn.Conv1d(2, 4, 2), nn.GroupNorm(2, 4), nn.Tanh()),
        (2, 4),
    ),
    image("group norm twice", lambda: nn.Sequential(*[nn.GroupNorm(1, 2), nn.Tanh()] * 2), (2, 2, 3)),
    image(
        "instance norm 1d",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.InstanceNorm1d(3, affine=True)),
        (2, 5),
    ),
    image("instance norm 3d", lambda: nn.InstanceNorm3d(2, affine=True), (2, 2, 2, 3)),
    image(
        "instance norm without affine",
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.InstanceNorm2d(3), nn.Conv2d(3, 2, 1)),
        (2, 4, 4),
    ),
    regression(
        "layer norm without bias",
        lambda: nn.Sequential(nn.LayerNorm(4, bias=False), nn.Linear(4, 3)),
        (3, 4),
        (3, 3),
    ),
    regression(
        "rms norm of sequences",
        lambda: nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 4), nn.RMSNorm([3, 4], eps=0.1)),
        (3, 4),
        (3, 4),
    ),
    regression(
        "layer norm twice",
        lambda: Around(nn.LayerNorm(4), lambda norm, x: norm(torch.sin(norm(x)))),
        (3, 4),
        (3, 4),
    ),
    regression(
        "batch norm of images in eval mode",
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Tanh()),
        (2, 3, 3),
        (3, 2, 2),
        training=False,
    ),
    image(
        "local response norm", lambda: nn.Sequential(nn.Conv2d(2, 4, 2), nn.LocalResponseNorm(3)), (2, 3, 3)
    ),
    regression(
        "one slope for all", lambda: nn.Sequential(nn.Linear(4, 5), nn.PReLU(), nn.Linear(5, 3)), (4,), (3,)
    ),
)

_BILINEAR = (
    Problem(
        name="bilinear on three axes",
        build=lambda: nn.Bilinear(3, 2, 4, bias=False),
        inputs=floats((3, 3), (3, 2)),
        targets=floats((3, 4)),
        criterion=squared_error,
    ),
    regression(
        "bilinear with itself",
        lambda: Around(nn.Bilinear(4, 4, 2), lambda layer, x: layer(x, torch.tanh(x))),
        (4,),
        (2,),
    ),
)

LAYER_PROBLEMS: tuple[Problem, ...] = (
    *_IMAGES,
    *_CONVOLUTIONS,
    *_NORMALISED,
    *_MORE_NORMALISED,
    *_BILINEAR,
)
"""Convolutions, normalisations and bilinear layers."""
