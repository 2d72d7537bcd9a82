"""Sums of outer products: the gradient of a matrix that multiplies data.

For an input ``a`` and an output gradient ``g`` an example's gradient is the sum over positions t of
``a_t g_t^T``. With one position its squared norm is ``|a|^2 |g|^2`` (Goodfellow 2015,
arXiv:1510.01799); with several it is the sum of ``(a_t . a_s)(g_t . g_s)``, the ghost norm
(Li et al. 2021, arXiv:2110.05679). All functions take ``(..., T, d)`` and ``(..., T, p)``, examples
and whatever else is kept apart in front.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clifftop.gradients.rules import products


def ghost_sq_norms(a: Tensor, g: Tensor) -> Tensor:
    """Squared norms ``(...)`` without a gradient in memory, added up in float64."""
    return long_sums((products.grams(a) * products.grams(g)).flatten(-2)).clamp_min(0)


def long_sums(x: Tensor) -> Tensor:
    """Sums over the last axis in float64, of short sums in the tensor's own precision."""
    whole = x.shape[-1] - x.shape[-1] % _BLOCK
    if whole == 0:
        return x.sum(-1, dtype=torch.float64)
    total = x[..., :whole].unflatten(-1, (-1, _BLOCK)).sum(-1).sum(-1, dtype=torch.float64)
    return total if whole == x.shape[-1] else total + x[..., whole:].sum(-1, dtype=torch.float64)


_BLOCK = 256


def outer(a: Tensor, g: Tensor) -> Tensor:
    """Gradients ``(..., d, p)``."""
    return products.outers(a, g)


def contract(a: Tensor, g: Tensor) -> Tensor:
    """Sum over the first axis and over positions: ``(d, p)`` from ``(B, T, d)`` and ``(B, T, p)``."""
    return products.contract(a.flatten(0, 1), g.flatten(0, 1))
