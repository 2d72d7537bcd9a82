"""The oracle: one example at a time, nothing clever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clifftop.flow import Batch, DrawStream, GroupMap, Params
from clifftop.gradients.base import PerExampleLoss, refuse_unprotectable
from clifftop.gradients.instantiated import InstantiatedGrads, no_examples, without_padding
from clifftop.gradients.randomness import DropoutFromUniforms, draw_uniforms, find_draws


@dataclass(frozen=True)
class LoopEngine:
    """Per-example gradients by one forward and one backward pass for each example of each run.

    Every module that autograd can differentiate is right here, whatever it does inside: each
    example passes alone, as a batch of one. It is slow, and every other engine is held to it.
    Padding is never evaluated. Buffers that the model writes during the pass are thrown away.

    Raises:
        UnsupportedModule: layers that share statistics between examples, and random draws that
            cannot come from a named stream.
    """

    def __call__(
        self,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        groups: GroupMap,
        draws: DrawStream | None = None,
    ) -> InstantiatedGrads:
        """Per-example gradients at ``params`` on ``batch``; ``draws`` feeds dropout."""
        refuse_unprotectable(loss.module)
        grads = no_examples(params, batch, groups)
        filled = without_padding(batch)
        if filled is None:
            return grads
        dropouts = find_draws(loss, params, filled)
        uniforms = draw_uniforms(dropouts, batch.padded_size, draws)
        for r, b in batch.mask.nonzero().tolist():
            masks = [u[r, b].unsqueeze(draw.axis) for u, draw in zip(uniforms, dropouts, strict=True)]
            grads.losses[r, b], gradient = _one_example(loss, params, batch, (r, b), masks)
            for name, value in gradient.items():
                grads.rows[name][r, b] = value
        return grads


def _one_example(
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    where: tuple[int, int],
    uniforms: Sequence[Tensor],
) -> tuple[Tensor, Params]:
    """Loss and gradient of example ``where = (r, b)``, with run r's parameters."""
    r, b = where
    leaves = {name: value[r].detach().clone().requires_grad_() for name, value in params.items()}
    # Cloned, since a model may write into its buffers.
    constants = {name: value[r].clone() for name, value in loss.constants.items()}
    inputs = [x[r, b : b + 1] for x in batch.inputs]
    targets = [y[r, b : b + 1] for y in batch.targets]
    with torch.enable_grad(), DropoutFromUniforms(uniforms):
        value = loss(leaves, constants, inputs, targets).squeeze(0)
        # A loss that no parameter reaches has no graph; its gradient is zero.
        gradient = (
            torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
            if value.requires_grad
            else [torch.zeros_like(leaf) for leaf in leaves.values()]
        )
    dense = [g.to_dense() if g.is_sparse else g for g in gradient]
    return value.detach(), dict(zip(leaves, dense, strict=True))
