"""Small real models, as problems for engines; the same classes build the real sizes.

Each class is what its paper describes, written with plain layers; without arguments it has the size
that is usual in practice. `REAL_MODELS` are small ones, quick enough for the loop in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.testing.problem import (
    Problem,
    class_cross_entropy,
    floats,
    regression,
    token_cross_entropy,
    tokens,
)
from clifftop.testing.real_models.images import ConvNeXt, ResNet, UNet, WideResNet
from clifftop.testing.real_models.language import GPT, EinsumMixture, GatedEncoder
from clifftop.testing.real_models.patches import MLPMixer, Swin, ViT
from clifftop.testing.real_models.sequences import CharRNN, GRUClassifier, LSTMTagger, TextCNN
from clifftop.testing.real_models.tables import DLRM, lora_mlp

__all__ = [
    "DLRM",
    "GPT",
    "REAL_MODELS",
    "CharRNN",
    "ConvNeXt",
    "EinsumMixture",
    "GRUClassifier",
    "GatedEncoder",
    "LSTMTagger",
    "MLPMixer",
    "ResNet",
    "Swin",
    "TextCNN",
    "UNet",
    "ViT",
    "WideResNet",
    "lora_mlp",
]


def _click_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, target.to(output.dtype), reduction="none")


def _pixel_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, reduction="none").mean(dim=(1, 2))


def _dense_and_rows(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
    return floats((4,))(rng, size) + tokens(6, 3, 2)(rng, size)


def _photo(name: str, build: Callable[[], nn.Module], side: int = 8) -> Problem:
    """A model from colour images to three classes."""
    return Problem(
        name=name,
        build=build,
        inputs=floats((3, side, side)),
        targets=tokens(3),
        criterion=class_cross_entropy,
    )


def _text(name: str, build: Callable[[], nn.Module], length: int = 5) -> Problem:
    """A model from tokens below eleven to one of eleven for each."""
    return Problem(
        name=name,
        build=build,
        inputs=tokens(11, length),
        targets=tokens(11, length),
        criterion=token_cross_entropy,
    )


_IMAGES = (
    _photo("resnet-20", lambda: ResNet(width=4, groups=2, num_classes=3)),
    _photo("wrn-16-4", lambda: WideResNet(width=4, groups=2, num_classes=3)),
    _photo("wrn-16-4 standardised", lambda: WideResNet(width=4, groups=2, num_classes=3, standardised=True)),
    Problem(
        name="u-net",
        build=lambda: UNet(levels=2, width=4, groups=2, num_classes=3),
        inputs=floats((3, 8, 8)),
        targets=tokens(3, 8, 8),
        criterion=_pixel_loss,
    ),
    _photo("convnext", lambda: ConvNeXt(depths=(1, 1), widths=(4, 6), patch=2, num_classes=3)),
    _photo(
        "vit",
        lambda: ViT(image=8, patch=4, num_layers=2, width=8, heads=2, mlp_width=12, num_classes=3),
    ),
    _photo("swin", lambda: Swin(patch=2, width=8, heads=2, window=2, num_classes=3)),
    _photo(
        "mlp-mixer",
        lambda: MLPMixer(image=8, patch=4, num_layers=2, width=6, token_width=5, mlp_width=8, num_classes=3),
    ),
)

_TEXTS = (
    _text("gpt", lambda: GPT(num_layers=2, width=8, heads=2, context=6, vocabulary=11, tied=False)),
    _text("gpt tied", lambda: GPT(num_layers=2, width=8, heads=2, context=6, vocabulary=11, tied=True)),
    _text(
        "gated encoder",
        lambda: GatedEncoder(num_layers=2, width=8, heads=2, hidden=6, max_distance=3, vocabulary=11),
    ),
    regression(
        "einsum mixture", lambda: EinsumMixture(width=6, heads=2, experts=3, hidden=4), (4, 6), (4, 6)
    ),
    _text("lstm tagger", lambda: LSTMTagger(vocabulary=11, embedding=4, hidden=3, tags=11), length=4),
    _text("char-rnn", lambda: CharRNN(vocabulary=11, embedding=4, hidden=5), length=4),
    Problem(
        name="gru classifier",
        build=lambda: GRUClassifier(features=3, hidden=4, num_classes=3),
        inputs=floats((4, 3)),
        targets=tokens(3),
        criterion=class_cross_entropy,
    ),
    Problem(
        name="text cnn",
        build=lambda: TextCNN(vocabulary=11, embedding=4, filters=3, widths=(2, 3), num_classes=3),
        inputs=tokens(11, 6),
        targets=tokens(3),
        criterion=class_cross_entropy,
    ),
)

_TABLES = (
    Problem(
        name="dlrm",
        build=lambda: DLRM(rows=(9, 7, 6), width=4, dense=4, bottom=(6,), top=(7,)),
        inputs=_dense_and_rows,
        targets=tokens(2),
        criterion=_click_loss,
    ),
    regression("lora", lambda: lora_mlp((5, 8, 8, 3), rank=2), (5,), (3,)),
    regression("lora merged", lambda: lora_mlp((5, 8, 8, 3), rank=2, merged=True), (5,), (3,)),
)

REAL_MODELS: tuple[Problem, ...] = (*_IMAGES, *_TEXTS, *_TABLES)
"""Small real models with exact per-example gradients."""
