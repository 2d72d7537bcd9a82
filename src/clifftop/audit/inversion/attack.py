"""What every attack on a released gradient shares: its one method, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.audit.inversion.model import AttackedModel, Gradient, Release

Progress = Callable[[int, float], None]
"""Is told the iterations done and the matching loss."""


class CannotInvert(ValueError):
    """An attack does not fit the model or the release; the message says why."""


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What an attack makes of a release.

    Attributes:
        inputs: ``(B, *input_shape)``.
        labels: ``(B,)`` class numbers, or the targets that were given.
        matching_loss: squared distance from the release of what these examples would have released, over
            the squared norm of the release; 0 for a perfect match, NaN where it was not asked for.
        iterations: how many the attack took.
    """

    inputs: Tensor
    labels: Tensor
    matching_loss: float
    iterations: int


class Attack(ABC):
    """Turns a released gradient into inputs and labels. It sees nothing else of the data."""

    @property
    @abstractmethod
    def name(self) -> str:
        """For tables."""

    @abstractmethod
    def reconstruct(
        self,
        release: Release,
        model: AttackedModel,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """The examples that the release seems to be of.

        Args:
            release: what was released.
            model: weights, criterion, form of an example.
            labels: the targets ``(B, ...)`` where the attacker knows them; else they are found.
            seed: of the attack's own draws; the same seed gives the same reconstruction.
            progress: told after each iteration.

        Raises:
            CannotInvert: the attack does not fit.
        """


def matching_loss(release: Release, model: AttackedModel, inputs: Tensor, labels: Tensor) -> float:
    """`Reconstruction.matching_loss` of these examples."""
    predicted = model.gradients(inputs, labels, release.plan, keeps_graph=False)
    scale = sum(float(value.square().sum()) for value in release.gradient.values())
    return float(squared_distance(predicted, release.gradient)) / max(scale, 1e-300)


def squared_distance(one: Gradient, other: Gradient) -> Tensor:
    """Of two gradients, all parameters together."""
    parts = [(one[name] - value).square().sum() for name, value in other.items()]
    return torch.stack(parts).sum()
