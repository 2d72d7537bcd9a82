"""Opacus and opake, each driven through the cheapest form that its documentation offers.

No accountant hook, no Poisson loader, no secure mode: only what a step needs.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from steps.base import Engine


class Opacus(Engine):
    """Per-example gradients in ``grad_sample``: hooks, functorch or expanded weights."""

    mode = "hooks"

    def prepare(self) -> None:
        """The wrapped model and the wrapped optimiser."""
        warnings.simplefilter("ignore")
        from opacus.grad_sample import wrap_model
        from opacus.optimizers import DPOptimizer

        self.wrapped = wrap_model(self.module, self.mode, batch_first=True, loss_reduction="mean")
        self.optimizer = DPOptimizer(
            torch.optim.SGD(self.module.parameters(), lr=self.settings.lr), **self.options()
        )

    def options(self) -> dict[str, Any]:
        """What the wrapped optimiser is told."""
        return {
            "noise_multiplier": self.settings.noise_multiplier,
            "max_grad_norm": self.settings.clip_norm,
            "expected_batch_size": self.task.batch_size,
        }

    def step(self) -> None:
        """Zero, forward, backward, step."""
        self.optimizer.zero_grad()
        self.task.criterion(self.wrapped(*self.inputs), *self.targets).mean().backward()
        self.optimizer.step()


class OpacusFunctorch(Opacus):
    """Every layer's gradients by ``vmap``."""

    mode = "functorch"


class OpacusExpandedWeights(Opacus):
    """PyTorch's expanded weights."""

    mode = "ew"


class OpacusGhost(Opacus):
    """Two backward passes: norms, then the weighted loss."""

    ghost = True

    def prepare(self) -> None:
        """The wrapped model and the wrapped optimiser."""
        warnings.simplefilter("ignore")
        from opacus.grad_sample import GradSampleModuleFastGradientClipping
        from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping

        self.wrapped = GradSampleModuleFastGradientClipping(
            self.module,
            max_grad_norm=self.settings.clip_norm,
            use_ghost_clipping=self.ghost,
            loss_reduction="mean",
        )
        self.optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(self.module.parameters(), lr=self.settings.lr), **self.options()
        )

    def step(self) -> None:
        """Zero, forward, both backward passes, step."""
        from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

        self.optimizer.zero_grad()
        losses = self.task.criterion(self.wrapped(*self.inputs), *self.targets)
        DPTensorFastGradientClipping(self.wrapped, self.optimizer, losses, "mean").backward()
        self.optimizer.step()


class OpacusFastGradientClipping(OpacusGhost):
    """The same two passes, norms from gradients that are instantiated layer by layer."""

    ghost = False


class Opake(Engine):
    """Its functional step; the update is in place, which is cheaper than its own optimisers."""

    def prepare(self) -> None:
        """Its clipped gradient and its noise."""
        from opake.dpsgd.clipping import clipped_grad
        from opake.dpsgd.noise import gaussian_noise
        from opake.random import key

        self.params = self.parameters()
        count = len(self.inputs)

        def loss(params: dict[str, Tensor], *example: Tensor) -> Tensor:
            one = [x[None] for x in example]
            output = functional_call(self.module, params, tuple(one[:count]))
            return self.task.criterion(output, *one[count:]).squeeze(0)

        self.gradient, self.clip_state = clipped_grad(
            loss,
            clipping_norm=self.settings.clip_norm,
            batch_argnums=tuple(range(1, 1 + count + len(self.targets))),
            normalize_by=self.task.batch_size,
            **self.options(),
        )
        self.noise, self.noise_state = gaussian_noise(
            noise_multiplier=self.settings.noise_multiplier, key=key(0)
        )

    def options(self) -> dict[str, Any]:
        """Its defaults."""
        return {}

    def step(self) -> None:
        """Clipped gradient, noise, update."""
        grads, self.clip_state = self.gradient(
            self.params, *self.inputs, *self.targets, state=self.clip_state
        )
        noisy, self.noise_state = self.noise(grads, self.noise_state)
        for name, value in noisy.pytree.items():
            self.params[name].sub_(value, alpha=self.settings.lr)


class OpakeCompiled(Opake):
    """The same with the whole batch as one compiled chunk, an option that opake keeps private."""

    def options(self) -> dict[str, Any]:
        """One chunk, compiled."""
        return {"microbatch_size": self.task.batch_size, "_chunk_compiler": torch.compile}
