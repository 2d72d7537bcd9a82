"""What a rule for one kind of leaf must offer: norms, weighted sums, and the gradients themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class LeafCall:
    """One call of a leaf during the forward pass, and the gradient at its outputs.

    Attributes:
        path: the leaf's path in the model.
        module: the leaf.
        names: the leaf's trainable parameters: its own name for each, to the model's.
        inputs: tensors among the call's arguments, each ``(R, B, ...)``, or ``(R, ...)`` where
            ``input_has_examples`` is False.
        input_has_examples: whether each input carries the examples' axis (moved to position 1).
        output_grads: gradient of each example's loss at each output, ``(R, B, ...)``.
        layout: how to call the leaf again on these tensors; only the fallback needs it.
    """

    path: str
    module: nn.Module
    names: Mapping[str, str]
    inputs: tuple[Tensor, ...]
    input_has_examples: tuple[bool, ...]
    output_grads: tuple[Tensor, ...]
    layout: object = None


class Rule(ABC):
    """Turns (input, output-gradient) of one leaf call into per-example norms and weighted sums.

    Every method returns one entry a trainable parameter, keyed by the leaf's own parameter name.
    """

    @abstractmethod
    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""

    @abstractmethod
    def weighted_sum(self, call: LeafCall, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over examples of weight times gradient, ``(R, ...)``; ``weights`` are ``(R, B)``.

        The caller has replaced non-finite rows whose weight is 0.
        """

    @abstractmethod
    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``."""


def squared_norm(rows: Tensor, keep: int = 2) -> Tensor:
    """Squared L2 norm over all axes but the first ``keep``.

    Accumulated in blocks, because one long float32 accumulation is biased low by up to 1e-3,
    which would let a clipped gradient exceed its bound.

    >>> squared_norm(torch.full((1, 1, 3), 2.0)).item()
    12.0
    """
    flat = rows.flatten(keep) if rows.dim() > keep else rows.unsqueeze(-1)
    length = flat.shape[-1]
    if length <= _BLOCK:
        return torch.linalg.vector_norm(flat, dim=-1).square()
    whole = length - length % _BLOCK
    blocks = torch.linalg.vector_norm(flat[..., :whole].unflatten(-1, (-1, _BLOCK)), dim=-1)
    rest = torch.linalg.vector_norm(flat[..., whole:], dim=-1, keepdim=True)
    return torch.cat([blocks, rest], dim=-1).square().sum(-1)
