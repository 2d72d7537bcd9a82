"""A correct private step in plain numpy whose parts can be replaced one by one, to plant a fault."""

# ruff: noqa: ARG002, D102 -- the parts of a step are its methods, and are handed what faults look at.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from clifftop.audit.steps import SamplingClaim, StepClaim, hard_examples
from clifftop.events import NeighboringRelation
from clifftop.testing.zoo.accountant import Array

C, SIGMA, Q, N, DIVISOR = 0.5, 1.5, 1 / 8, 32, 4.0
INPUTS, HIDDEN, CLASSES = 8, 20, 4
BLOCKS = (("w1", HIDDEN * INPUTS), ("b1", HIDDEN), ("w2", CLASSES * HIDDEN), ("b2", CLASSES))
BIASES = np.concatenate([np.full(size, name.startswith("b")) for name, size in BLOCKS])
P = BIASES.size
STARTS = np.cumsum([0, *(size for _, size in BLOCKS)])


class CorrectStep:
    """Clip each example's gradient at C, sum, add noise of SIGMA * C, divide by a public number."""

    claim = StepClaim(
        clip_norm=C,
        noise_multiplier=SIGMA,
        divisor=DIVISOR,
        relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        parameters=BLOCKS,
        sampling=SamplingClaim(sampling_prob=Q, num_examples=N),
    )

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        inputs, targets = torch.randn(N, INPUTS, generator=g), torch.randint(0, CLASSES, (N,), generator=g)
        (x,), (y,) = hard_examples([inputs], [targets])
        self.x, self.y = x.numpy(), y.numpy()
        rng = np.random.default_rng(0)
        self.w1 = rng.normal(size=(HIDDEN, INPUTS)).astype(np.float32) / 3
        self.b1 = rng.normal(size=HIDDEN).astype(np.float32) / 3
        self.w2 = rng.normal(size=(CLASSES, HIDDEN)).astype(np.float32) / 3
        self.examples = len(self.x)

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> Array:
        with np.errstate(all="ignore"):
            total = self.total(list(indices))
            if noise:
                total = total + self.noise(seed, len(indices))
            return self.divide(total, len(indices))

    def sample(self, step: int, seed: int) -> list[int]:
        return np.flatnonzero(np.random.default_rng((seed, step)).random(N) < Q).tolist()

    def inputs(self, indices: list[int]) -> Array:
        return self.x[indices]

    def gradients(self, indices: list[int]) -> Array:
        x = self.inputs(indices)
        before = x @ self.w1.T + self.b1
        h = np.maximum(before, 0)
        logits = h @ self.w2.T
        odds = np.exp(logits - logits.max(1, initial=0, keepdims=True))
        d2 = odds / odds.sum(1, keepdims=True)
        d2[np.arange(len(indices)), self.y[indices]] -= 1
        d1 = (d2 @ self.w2) * (before > 0)
        w1, w2 = d1[:, :, None] * x[:, None], d2[:, :, None] * h[:, None]
        parts = zip((w1, d1, w2, d2), BLOCKS, strict=True)
        return np.concatenate([part.reshape(len(indices), size) for part, (_, size) in parts], 1)

    def norms(self, gradients: Array) -> Array:
        return np.sqrt((gradients**2).sum(1))

    def clip(self, gradients: Array, bound: float = C) -> Array:
        norms = self.norms(gradients)
        weights = np.where(np.isfinite(norms), np.minimum(1, bound / (norms + 1e-12)), 0)
        return np.where(weights[:, None] > 0, gradients * weights[:, None], 0)

    def total(self, indices: list[int]) -> Array:
        return self.clip(self.gradients(indices)).sum(0)

    def normals(self, seed: int) -> Array:
        return np.random.default_rng(seed).normal(size=P)

    def noise(self, seed: int, size: int) -> Array:
        return SIGMA * C * self.normals(seed)

    def divide(self, total: Array, size: int) -> Array:
        return total / DIVISOR


def one_vector(total: Array, bound: float = C) -> Array:
    """Clipped as if it were one gradient."""
    norm = np.linalg.norm(total)
    return total * min(1, bound / norm) if norm > 0 else total
