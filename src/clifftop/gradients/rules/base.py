"""What a rule for one kind of leaf must offer: its examples' gradients, or their norms and sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


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
    """Turns (input, output-gradient) of one leaf call into per-example gradients.

    Every method returns one entry for each of ``call.names``, keyed by the leaf's own name.
    """

    @abstractmethod
    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``."""


class GhostRule(Rule):
    """A rule that needs no per-example gradient in memory for norms and sums."""

    @abstractmethod
    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""

    @abstractmethod
    def weighted_sum(self, call: LeafCall, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over examples of weight times gradient, ``(R, ...)``; ``weights`` are ``(R, B)``.

        The caller has replaced non-finite rows whose weight is 0.
        """
