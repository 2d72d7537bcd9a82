"""``torch.nn.Linear``: the gradient of one example is an outer product, so its norm needs no product.

For an input ``a`` and an output gradient ``g`` the weight's gradient is the sum over positions t of
``g_t a_t^T``. With one position its squared norm is ``|a|^2 |g|^2`` (Goodfellow 2015,
arXiv:1510.01799); with several it is the sum of ``(a_t . a_s)(g_t . g_s)``, the ghost norm
(Li et al. 2021, arXiv:2110.05679).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from clifftop.gradients.instantiated import row_sq_norms
from clifftop.gradients.rules.base import GhostRule, LeafCall


@final
class LinearRule(GhostRule):
    """Norms by ghost products, sums by one batched contraction."""

    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""
        a, g = _operands(call)
        norms = {}
        if "weight" in call.names:
            norms["weight"] = _weight_sq_norms(a, g)
        if "bias" in call.names:
            norms["bias"] = row_sq_norms(g.sum(2) if g.dim() == 4 else g)
        return norms

    def weighted_sum(self, call: LeafCall, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over examples of weight times gradient, ``(R, ...)``."""
        a, g = _operands(call)
        sums: dict[str, Tensor] = {}
        if "weight" in call.names:
            w = _spread(weights["weight"], g)
            # The narrower operand is scaled (fewer bytes) and stands left: with it on the right the batched
            # product took three times as long for a 64 x 10 weight.
            if g.shape[-1] <= a.shape[-1]:
                sums["weight"] = _contract(g * w, a)
            else:
                sums["weight"] = _contract(a * w, g).transpose(1, 2)
        if "bias" in call.names:
            w = weights["bias"].unsqueeze(1)
            sums["bias"] = (w @ (g.sum(2) if g.dim() == 4 else g)).squeeze(1)
        return sums

    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``."""
        a, g = _operands(call)
        grads: dict[str, Tensor] = {}
        if "weight" in call.names:
            grads["weight"] = _outer(a, g)
        if "bias" in call.names:
            grads["bias"] = g.sum(2) if g.dim() == 4 else g
        return grads


def _contract(left: Tensor, right: Tensor) -> Tensor:
    """Sum over examples and positions of left times right, ``(R, l, r)``."""
    return left.flatten(1, -2).transpose(1, 2) @ right.flatten(1, -2)


def _operands(call: LeafCall) -> tuple[Tensor, Tensor]:
    """Input and output gradient as ``(R, B, d)``, or ``(R, B, T, d)`` with all positions in T."""
    a, g = call.inputs[0], call.output_grads[0]
    return (a, g) if a.dim() == 3 else (a.flatten(2, -2), g.flatten(2, -2))


def _weight_sq_norms(a: Tensor, g: Tensor) -> Tensor:
    if a.dim() == 3:
        return row_sq_norms(a) * row_sq_norms(g)
    positions, d, p = a.shape[2], a.shape[-1], g.shape[-1]
    if positions * (d + p) <= d * p:
        return ((a @ a.mT) * (g @ g.mT)).sum((-1, -2)).clamp_min(0).double()
    return row_sq_norms(_outer(a, g))


def _outer(a: Tensor, g: Tensor) -> Tensor:
    if a.dim() == 3:
        return g.unsqueeze(-1) * a.unsqueeze(-2)
    return torch.matmul(g.mT, a)


def _spread(weights: Tensor, like: Tensor) -> Tensor:
    return weights.reshape(weights.shape + (1,) * (like.dim() - weights.dim()))
