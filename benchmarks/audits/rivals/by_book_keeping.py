"""A book-keeping step for linear layers, written from its publication; it is not FastDP's code.

FastDP (the library of that publication) has no distribution on the package index. This follows Bu, Wang,
Zha and Karypis (2023, "Differentially private optimization on large model at small cost"): one backward
pass, in which every layer keeps its inputs and the gradients of its outputs; norms of examples from the two
("ghost norms"); then the weighted sums from the same two. What it shows holds for the method as described,
not for that library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from subjects import BATCH_SIZE, CLIP_NORM, NUM_EXAMPLES, SAMPLING_PROB, SIGMA, Scope, Task, claim_for
from torch import Tensor, nn
from torch.nn import functional as F

Clip = Callable[[Tensor], Tensor]


def abadi(norms: Tensor) -> Tensor:
    """``min(1, C / norm)`` (Abadi et al. 2016)."""
    return (CLIP_NORM / norms.clamp(min=1e-12)).clamp(max=1.0)


def automatic(norms: Tensor) -> Tensor:
    """``C / (norm + 0.01)`` (Bu et al. 2022), the published library's default."""
    return CLIP_NORM / (norms + 0.01)


class BookKeepingStep:
    """One backward pass; the sum over the batch, noised, over the public batch size."""

    def __init__(self, task: Task, *, scope: Scope, clip: Clip = abadi) -> None:
        self._inputs, self._targets = task.examples(scope)
        self.examples, self._clip = len(self._inputs), clip
        self._module = task.module()
        self._layers = [layer for layer in self._module.modules() if isinstance(layer, nn.Linear)]
        self._generator = torch.Generator().manual_seed(0)
        self._kept: dict[nn.Module, Tensor] = {}
        for layer in self._layers:
            layer.register_forward_hook(self._keep)
        self.claim = claim_for([(name, p.numel()) for name, p in self._module.named_parameters()])

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        self._kept[layer] = inputs[0].detach()

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """The noisy sum over the batch size."""
        del seed  # noise comes from one stream, as in a training
        rows = torch.tensor(list(indices), dtype=torch.int64)
        outputs: list[Tensor] = []
        handles = [
            layer.register_forward_hook(lambda _, __, output: outputs.append(output))
            for layer in self._layers
        ]
        losses = F.cross_entropy(self._module(self._inputs[rows]), self._targets[rows], reduction="none")
        for handle in handles:
            handle.remove()
        grads = torch.autograd.grad(losses.sum(), outputs)
        pairs = [(self._kept[layer], grad) for layer, grad in zip(self._layers, grads, strict=True)]
        squares = sum((a.square().sum(1) + 1) * g.square().sum(1) for a, g in pairs)
        weights = self._clip(torch.as_tensor(squares).sqrt())
        summed = [part for a, g in pairs for part in ((weights[:, None] * g).T @ a, weights @ g)]
        flat = torch.cat([part.flatten() for part in summed])
        if noise:
            flat = flat + SIGMA * CLIP_NORM * torch.randn(flat.shape, generator=self._generator)
        return (flat / BATCH_SIZE).numpy()

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """The loader is the user's there; here the claimed one."""
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        joined = torch.rand(NUM_EXAMPLES, generator=generator) < SAMPLING_PROB
        batch: list[int] = joined.nonzero().flatten().tolist()
        return batch
