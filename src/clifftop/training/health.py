"""Numbers that are no longer numbers: examples that count for nothing, parameters that are lost.

Whether a batch held finite gradients depends on the data, like a step's record: the warning is for the
person who trains, is not private and names no example. Whether parameters are finite is a function of what
was released, so stopping on it costs nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

_EVERY = 32


class NonFiniteParameters(ArithmeticError):
    """Training cannot go on: a parameter is NaN or infinite. One line; names the parameter."""


class NonFiniteGradients(RuntimeWarning):
    """Every example of a batch had a loss or a gradient that is NaN or infinite."""


@final
class BatchWatch:
    """Warns once if a batch held examples and none of them had a finite loss and gradient.

    Looked at after every step where reading a tensor is free, and every 32 steps where it would mean
    waiting for the device.
    """

    def __init__(self) -> None:
        """See the class."""
        self._waiting: list[Tensor] = []
        self._warned = False

    def __call__(self, mask: Tensor, weights: Tensor) -> None:
        """Take note of a step's mask ``(1, B)`` and weights ``(1, B, G)``."""
        if self._warned:
            return
        if mask.device.type == "cpu":
            # Nearly always the first look is the only one.
            self._warn_if(not bool(weights.any()) and bool(mask.any()))
            return
        self._waiting.append(mask.any() & ~weights.any())
        if len(self._waiting) >= _EVERY:
            self.look()

    def look(self) -> None:
        """Warn, if there is reason to."""
        waiting = self._waiting
        self._waiting = list[Tensor]()
        self._warn_if(bool(waiting) and bool(torch.stack(waiting).any()))

    def _warn_if(self, reason: bool) -> None:  # noqa: FBT001
        if reason and not self._warned:
            self._warned = True
            warnings.warn(
                "a batch must hold finite losses and gradients, found one in which every example's was NaN "
                "or infinite, so the step was noise alone; look for NaN in the data, for log(0), sqrt(0) or "
                "a division by 0 in the model or the criterion, or lower the learning rate",
                NonFiniteGradients,
                stacklevel=4,
            )


def require_finite(parameters: Mapping[str, Tensor], *, steps_done: int) -> None:
    """Errors: `NonFiniteParameters`, for the first parameter that is not finite."""
    for name, value in parameters.items():
        # The sum is not finite if an entry is not; one that overflows by itself is looked at entry by entry.
        if not bool(torch.isfinite(value.detach().sum())) and not bool(torch.isfinite(value.detach()).all()):
            raise NonFiniteParameters(
                f"parameters must stay finite, found '{name}' with NaN or infinite entries after "
                f"steps_done={steps_done}; no checkpoint was overwritten: go back to the last one and lower "
                "the learning rate or the noise"
            )
