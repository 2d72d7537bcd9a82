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

from clifftop.gradients.instantiated import row_sq_norms


def ghost_is_cheaper(positions: int, d: int, p: int) -> bool:
    """Whether products of positions cost less than the gradient itself."""
    return positions * (d + p) <= d * p


def single_sq_norms(a: Tensor, g: Tensor) -> Tensor:
    """Squared norms ``(N, B)`` for one position: ``(N, B, d)`` and ``(N, B, p)``."""
    return row_sq_norms(a) * row_sq_norms(g)


def ghost_sq_norms(a: Tensor, g: Tensor) -> Tensor:
    """Squared norms ``(...)`` without a gradient in memory, added up in float64."""
    return ((a @ a.mT) * (g @ g.mT)).sum((-1, -2), dtype=torch.float64).clamp_min(0)


def outer(a: Tensor, g: Tensor) -> Tensor:
    """Gradients ``(..., d, p)``."""
    return a.mT @ g


def contract(a: Tensor, g: Tensor) -> Tensor:
    """Sum over the first axis and over positions: ``(d, p)`` from ``(B, T, d)`` and ``(B, T, p)``."""
    return a.flatten(0, 1).mT @ g.flatten(0, 1)
