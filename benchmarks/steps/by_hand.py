"""A private step written by hand: ``vmap(grad)``, norms, one contraction a parameter, noise, update."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from steps.base import Engine


class VmapByHand(Engine):
    """What a page of documentation would tell a user to write with ``torch.func``."""

    def prepare(self) -> None:
        """The per-example gradient as a function of all examples."""
        self.params = self.parameters()

        def loss(
            params: dict[str, Tensor], inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]
        ) -> Tensor:
            output = functional_call(self.module, params, tuple(x[None] for x in inputs))
            return self.task.criterion(output, *(y[None] for y in targets)).squeeze(0)

        per_example = vmap(grad(loss), in_dims=(None, 0, 0))

        def clipped(
            params: dict[str, Tensor], inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]
        ) -> dict[str, Tensor]:
            grads = per_example(params, inputs, targets)
            squares = torch.stack([g.flatten(1).norm(dim=1).square() for g in grads.values()])
            weights = (self.settings.clip_norm / (squares.sum(0).sqrt() + 1e-12)).clamp(max=1)
            return {name: torch.tensordot(weights, g, dims=1) for name, g in grads.items()}

        self.clipped = self.transformed(clipped)

    def transformed(self, clipped: object) -> object:
        """The clipped sum as it is."""
        return clipped

    def step(self) -> None:
        """Clipped sum, noise, update in place."""
        sums = self.clipped(self.params, self.inputs, self.targets)
        std = self.settings.noise_multiplier * self.settings.clip_norm
        rate = self.settings.lr / self.task.batch_size
        for name, total in sums.items():
            noisy = total.add(torch.randn_like(total), alpha=std) if std else total
            self.params[name].sub_(noisy, alpha=rate)


class VmapCompiled(VmapByHand):
    """The same with the clipped sum compiled; the noise stays outside, where it is quicker."""

    def transformed(self, clipped: object) -> object:
        """The clipped sum compiled."""
        return torch.compile(clipped)
