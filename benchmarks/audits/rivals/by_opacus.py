"""Opacus under audit: what `PrivacyEngine.make_private` returns, up to what its optimiser would receive."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from subjects import BATCH_SIZE, CLIP_NORM, NUM_EXAMPLES, SIGMA, Scope, Task, claim_for
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class OpacusStep:
    """The private model, optimiser, criterion and loader as documented; noise of Opacus' own stream.

    The step ends before the wrapped optimiser moves the parameters (`DPOptimizer.pre_step`); without noise
    means a noise multiplier of 0. The empty batch is what Opacus' collate function makes of it.
    """

    def __init__(
        self,
        task: Task,
        *,
        scope: Scope,
        mode: str = "hooks",
        physical: int | None = None,
        secure: bool = False,
        **options: Any,
    ) -> None:
        warnings.simplefilter("ignore")
        inputs, targets = task.examples(scope)
        self._named = TensorDataset(inputs, targets)
        self.examples, self._ghost, self._physical = len(self._named), mode == "ghost", physical
        self._make = partial(self._made, task, mode=mode, secure=secure, **options)
        self._noise_generator = torch.Generator().manual_seed(0)
        self._make()
        self.claim = claim_for([(name, p.numel()) for name, p in self._params.items()])
        self._drawn: tuple[int, int, Iterator[list[int]]] | None = None

    def _made(self, task: Task, *, mode: str, secure: bool, **options: Any) -> None:
        data = TensorDataset(*self._named[:NUM_EXAMPLES])
        module = task.module()
        self._params = dict(module.named_parameters())
        private = PrivacyEngine().make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
            criterion=nn.CrossEntropyLoss(),
            data_loader=DataLoader(data, batch_size=BATCH_SIZE),
            noise_multiplier=SIGMA,
            max_grad_norm=self._clip_norms(options),
            noise_generator=self._noise_generator,
            grad_sample_mode=mode,
            **options,
        )
        self._module, self._optimizer, self._loader = private[0], private[1], private[-1]
        self._criterion = private[2] if self._ghost else nn.CrossEntropyLoss()
        # What `PrivacyEngine(secure_mode=True)` passes on; that itself needs torchcsprng.
        self._optimizer.secure_mode = secure
        self._loader.collate_fn([data[0]])  # a training's first batch is rarely empty

    def _clip_norms(self, options: dict[str, Any]) -> float | list[float]:
        count = len(self._params)
        return [CLIP_NORM / math.sqrt(count)] * count if options.get("clipping") == "per_layer" else CLIP_NORM

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """What the wrapped optimiser finds in ``grad``."""
        torch.manual_seed(seed)  # of stand-ins for examples; noise comes from one stream, as in a training
        self._optimizer.noise_multiplier = SIGMA if noise else 0.0
        try:
            for inputs, targets in self._batches(indices):
                self._optimizer.zero_grad()
                self._criterion(self._module(inputs), targets).backward()
                self._optimizer.pre_step()
        except Exception:
            self._make()  # a batch that it cannot take must not spoil the next one
            raise
        return torch.cat([p.grad.flatten() for p in self._params.values()]).numpy()

    def _batches(self, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(self._named, batch_sampler=[list(indices)], collate_fn=self._loader.collate_fn)
        if self._physical is None:
            yield from loader
            return
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=self._physical, optimizer=self._optimizer
        ) as pieces:
            yield from pieces

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """A batch of Opacus' sampler, epoch after epoch."""
        if self._drawn is None or self._drawn[:2] != (seed, step):
            torch.manual_seed(seed)
            self._drawn = (seed, 0, self._epochs())
        _, place, batches = self._drawn
        batch = next(batches)
        while place < step:
            batch, place = next(batches), place + 1
        self._drawn = (seed, step + 1, batches)
        return batch

    def _epochs(self) -> Iterator[list[int]]:
        while True:
            yield from self._loader.batch_sampler


class OpacusAdaptiveStep(OpacusStep):
    """``clipping="adaptive"``: gradient and new clip norm are released; the claim is for both together.

    The new clip norm is the old one times ``exp(-lr (f - target))`` with public numbers, so it is f, the
    noisy unclipped fraction, that is released. It is put behind the gradient on the scale on which its
    noise is the gradient's. By the theorem that Opacus names (Andrew et al. 2021), both together are one
    release of the noise multiplier that was asked for.
    """

    COUNT_STD, RATE, TARGET = 2.0, 0.2, 0.5

    def __init__(self, task: Task, *, scope: Scope) -> None:
        super().__init__(
            task,
            scope=scope,
            clipping="adaptive",
            target_unclipped_quantile=self.TARGET,
            clipbound_learning_rate=self.RATE,
            max_clipbound=1e9,
            min_clipbound=1e-9,
            unclipped_num_std=self.COUNT_STD,
        )
        self._std = CLIP_NORM * (SIGMA**-2 - (2 * self.COUNT_STD) ** -2) ** -0.5
        sizes = [(name, p.numel()) for name, p in self._params.items()]
        self.claim = claim_for([*sizes, ("unclipped fraction", 1)], clip_norm=self._std / SIGMA)

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """The gradient, and behind it the fraction that the new clip norm shows."""
        self._optimizer.max_grad_norm = CLIP_NORM
        self._optimizer.unclipped_num_std = self.COUNT_STD if noise else 0.0
        gradient = super().release(indices, noise=noise, seed=seed)
        ratio = float(self._optimizer.max_grad_norm) / CLIP_NORM
        self._optimizer.max_grad_norm = CLIP_NORM
        fraction = self.TARGET - math.log(ratio) / self.RATE
        return np.append(gradient, fraction * self._std / self.COUNT_STD)
