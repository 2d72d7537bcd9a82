"""What is trained: six models with one fixed batch each, the same for every engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODEL_SEED, BATCH_SEED = 0, 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """One model and its batch.

    Attributes:
        title: what a table calls it.
        batch_size: B.
        build: the model at its first weights.
        draw: inputs and targets of B examples.
        criterion: per-example losses of an output and the targets.
        build_sparse: the same model with sparse gradients of its tables, where there are tables.
        target: private over plain that must not be exceeded; to the sparse plain step where there is one.
        rival_target: how many times faster than the fastest rival.
        num_batches: how many batches the timed steps go through in turn; with one alone, the rows of a
            table that a step reads would always be in the cache, which in training they are not.
    """

    title: str
    batch_size: int
    build: Callable[[], nn.Module]
    draw: Callable[[int], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
    criterion: Callable[..., Tensor]
    target: float
    rival_target: float
    build_sparse: Callable[[], nn.Module] | None = None
    num_batches: int = 1

    def model(self, *, sparse: bool = False) -> nn.Module:
        """The model, the same at each call."""
        torch.manual_seed(MODEL_SEED)
        make = self.build_sparse if sparse else self.build
        if make is None:
            raise ValueError("a sparse model needs tables, found a model without; leave this engine out")
        return make()

    def batch(self, number: int = 0) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A batch, the same at each call."""
        torch.manual_seed(BATCH_SEED + number)
        return self.draw(self.batch_size)


# ---------------------------------------------------------------- models


def mlp(*sizes: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for d, p in itertools.pairwise(sizes):
        layers += [nn.Linear(d, p), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Module:
    """The 26,010-parameter network of `clifftop.studies.fashion_cnn`, which imports more than torch."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 32),
        nn.Tanh(),
        nn.Linear(32, 10),
    )


class WideBlock(nn.Module):
    """A pre-activation residual block with group norm."""

    def __init__(self, d: int, p: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(16, d), nn.Conv2d(d, p, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.GroupNorm(16, p), nn.Conv2d(p, p, 3, 1, 1, bias=False)
        self.shortcut = nn.Identity() if d == p else nn.Conv2d(d, p, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The block's input or its projection, plus two convolutions."""
        active = F.relu(self.norm1(x))
        kept = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        return kept + self.conv2(F.relu(self.norm2(self.conv1(active))))


def wide_resnet_16_4() -> nn.Module:
    """WRN-16-4 (Zagoruyko and Komodakis 2016) with group norm, for 32 x 32 images of 10 classes."""
    widths = (16, 64, 128, 256)
    blocks = [
        WideBlock(d if first else p, p, 2 if first and p > 64 else 1)
        for d, p in itertools.pairwise(widths)
        for first in (True, False)
    ]
    head = [nn.GroupNorm(16, 256), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), *blocks, *head)


class GptBlock(nn.Module):
    """Causal attention of 4 heads and an MLP, each after a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.norm2, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same."""
        size, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(size, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(size, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """A decoder of blocks over learned token and position embeddings; the head is not tied."""

    def __init__(
        self, *, layers: int = 6, width: int = 256, length: int = 128, vocabulary: int = 8192
    ) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(GptBlock(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits ``(B, T, vocabulary)``."""
        # Positions are repeated, not broadcast: several rivals need a batch axis at every embedding.
        places = torch.arange(ids.shape[1], device=ids.device).repeat(ids.shape[0], 1)
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.places(places))))


class Recommender(nn.Module):
    """Three tables of a million rows and a small MLP over them and 13 numbers."""

    def __init__(self, *, rows: int = 1_000_000, width: int = 16, sparse: bool = False) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, width, sparse=sparse) for _ in range(3))
        self.top = mlp(3 * width + 13, 64, 1)

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        """One logit an example, ``(B,)``."""
        # Rows of one id each: expanded weights refuse ids without a second axis, ghost clipping strided ones.
        columns = [ids[:, i : i + 1].contiguous() for i in range(len(self.tables))]
        found = [table(column).squeeze(1) for table, column in zip(self.tables, columns, strict=True)]
        return self.top(torch.cat([*found, numbers], dim=1)).squeeze(1)


# ---------------------------------------------------------------- batches and losses


def classes(shape: tuple[int, ...], count: int) -> Callable[[int], tuple[tuple[Tensor], tuple[Tensor]]]:
    """Normal inputs of ``shape`` with one of ``count`` classes each."""
    return lambda size: ((torch.randn(size, *shape),), (torch.randint(count, (size,)),))


def sentences(length: int, vocabulary: int) -> Callable[[int], tuple[tuple[Tensor], tuple[Tensor]]]:
    """Token ids, and the next ones as targets."""

    def draw(size: int) -> tuple[tuple[Tensor], tuple[Tensor]]:
        ids = torch.randint(vocabulary, (size, length + 1))
        return (ids[:, :-1].contiguous(),), (ids[:, 1:].contiguous(),)

    return draw


def clicks(rows: int) -> Callable[[int], tuple[tuple[Tensor, Tensor], tuple[Tensor]]]:
    """Numbers and row ids, and whether each was clicked."""
    return lambda size: (
        (torch.randn(size, 13), torch.randint(rows, (size, 3))),
        (torch.randint(2, (size,)).float(),),
    )


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """One loss an example."""
    return F.cross_entropy(logits, targets, reduction="none")


def token_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """One loss a sentence: the mean over its tokens."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(1)


def click_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One loss an example."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


TASKS = {
    "tiny": Task(
        title="MLP 10-64-5, B 64",
        batch_size=64,
        build=lambda: mlp(10, 64, 5),
        draw=classes((10,), 5),
        criterion=cross_entropy,
        target=1.0,
        rival_target=1.4,
    ),
    "mlp": Task(
        title="MLP 784-256-256-10, B 256",
        batch_size=256,
        build=lambda: mlp(784, 256, 256, 10),
        draw=classes((784,), 10),
        criterion=cross_entropy,
        target=1.1,
        rival_target=1.4,
    ),
    "cnn": Task(
        title="26k CNN, 28 x 28, B 256",
        batch_size=256,
        build=cnn,
        draw=classes((1, 28, 28), 10),
        criterion=cross_entropy,
        target=1.1,
        rival_target=1.4,
    ),
    "wrn": Task(
        title="WRN-16-4 GroupNorm, 32 x 32, B 32",
        batch_size=32,
        build=wide_resnet_16_4,
        draw=classes((3, 32, 32), 10),
        criterion=cross_entropy,
        target=1.1,
        rival_target=1.4,
    ),
    "gpt": Task(
        title="GPT 6 x 256, T 128, vocabulary 8192, B 16",
        batch_size=16,
        build=Gpt,
        draw=sentences(128, 8192),
        criterion=token_cross_entropy,
        target=1.1,
        rival_target=1.2,
    ),
    "rec": Task(
        title="recommender 3 x 1M x 16, B 256",
        batch_size=256,
        build=Recommender,
        build_sparse=lambda: Recommender(sparse=True),
        draw=clicks(1_000_000),
        criterion=click_loss,
        target=2.5,
        rival_target=1.4,
        num_batches=64,
    ),
}
