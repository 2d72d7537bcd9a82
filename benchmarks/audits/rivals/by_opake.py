"""opake under audit: its clipped gradient, its noise and its sampler, as its documentation joins them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opake.dpsgd.clipping import adaptive_clipped_grad, auto_clipped_grad, clipped_grad, per_group
from opake.dpsgd.noise import gaussian_noise
from opake.dpsgd.sampling import PoissonSampler
from opake.random import key
from subjects import BATCH_SIZE, CLIP_NORM, NUM_EXAMPLES, SAMPLING_PROB, SIGMA, Scope, Task, claim_for
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F


class OpakeStep:
    """Clipped, normalised by the public batch size, noised; one stream of noise, as in a training."""

    def __init__(self, task: Task, *, scope: Scope, kind: str = "flat", **options: Any) -> None:
        self._inputs, self._targets = task.examples(scope)
        self.examples = len(self._inputs)
        self._module = task.module()
        self._params = {name: p.detach().clone() for name, p in self._module.named_parameters()}
        clip: Callable[..., Any] = auto_clipped_grad if kind == "auto" else clipped_grad
        self._gradient, self._clip_state = clip(
            self._loss,
            batch_argnums=(1, 2),
            normalize_by=BATCH_SIZE,
            **self._bound(kind),
            **options,
        )
        self._noise, self._noise_state = gaussian_noise(noise_multiplier=SIGMA, key=key(0))
        self.claim = claim_for([(name, p.numel()) for name, p in self._params.items()])
        self._drawn: tuple[int, int, Iterator[list[int]]] | None = None

    def _loss(self, params: dict[str, Tensor], inputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(self._module, params, (inputs[None],)), target[None])

    def _bound(self, kind: str) -> dict[str, Any]:
        if kind == "auto":
            return {"R": CLIP_NORM}
        if kind == "per_group":
            each = CLIP_NORM / math.sqrt(len(self._params))
            return {"clipping_norm": per_group(self._params, dict.fromkeys(self._params, each))}
        return {"clipping_norm": CLIP_NORM}

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """What its optimisers take."""
        del seed  # nothing is drawn but noise
        rows = torch.tensor(list(indices), dtype=torch.int64)
        grads, _ = self._gradient(
            self._params, self._inputs[rows], self._targets[rows], state=self._clip_state
        )
        if noise:
            grads, self._noise_state = self._noise(grads, self._noise_state)
        return torch.cat([grads.pytree[name].flatten() for name in self._params]).numpy()

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """A batch of its Poisson sampler."""
        if self._drawn is None or self._drawn[:2] != (seed, step):
            sampler = PoissonSampler(range(NUM_EXAMPLES), sample_rate=SAMPLING_PROB, key=key(seed))
            self._drawn = (seed, 0, iter(sampler))
        _, place, batches = self._drawn
        batch = next(batches)
        while place < step:
            batch, place = next(batches), place + 1
        self._drawn = (seed, step + 1, batches)
        return batch


class OpakeAdaptiveStep(OpakeStep):
    """Adaptive clipping: the gradient and the new clip norm, under the joint claim of its accountant.

    The new clip norm shows the noisy clipped fraction, over a public batch size and centred. It is put
    behind the gradient on the scale on which its noise is the gradient's. Its accountant takes both for one
    release whose sensitivity is that of a gradient of norm C beside half a count.
    """

    FRACTION_STD, RATE, TARGET = 0.5, 0.2, 0.5

    def __init__(self, task: Task, *, scope: Scope) -> None:
        super().__init__(task, scope=scope)
        self._scale = SIGMA * CLIP_NORM / (BATCH_SIZE * self.FRACTION_STD)
        joint = math.hypot(CLIP_NORM, self._scale / 2)
        sizes = [(name, p.numel()) for name, p in self._params.items()]
        self.claim = claim_for(
            [*sizes, ("clipped fraction", 1)], clip_norm=joint, noise_multiplier=SIGMA * CLIP_NORM / joint
        )
        self._steps = 0

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """The gradient, and behind it the fraction that the new clip norm shows."""
        del seed  # every release with noise is the first step of a run with a key of its own, so that C stays
        self._steps += noise
        rows = torch.tensor(list(indices), dtype=torch.int64)
        batch = (self._params, self._inputs[rows], self._targets[rows])
        gradient, state = self._adaptive(noise=noise)
        grads, after = gradient(*batch, state=state)
        if noise:
            grads, self._noise_state = self._noise(grads, self._noise_state)
        # The next step's bound is public, and is the new clip norm over the batch size.
        following, _ = gradient(*batch, state=after)
        ratio = following.max_norm * BATCH_SIZE / CLIP_NORM
        fraction = self.TARGET + math.log(ratio) / self.RATE - 0.5
        flat = torch.cat([grads.pytree[name].flatten() for name in self._params])
        return np.append(flat.numpy(), fraction * self._scale)

    def _adaptive(self, *, noise: bool) -> Any:
        return adaptive_clipped_grad(
            self._loss,
            initial_clipping_norm=CLIP_NORM,
            target_quantile=self.TARGET,
            learning_rate=self.RATE,
            clipping_norm_min=1e-6,
            clipping_norm_max=1e6,
            # Its noise cannot be left out: this much of it is none.
            fraction_noise_std=self.FRACTION_STD if noise else 1e-9,
            key=key(self._steps),
            batch_argnums=(1, 2),
            normalize_by=BATCH_SIZE,
        )
