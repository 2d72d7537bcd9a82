"""What a test problem for gradient engines is, and the usual data and losses for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.gradients.base import Criterion

Sample = Callable[[torch.Generator, int], tuple[Tensor, ...]]
"""Draws that many examples: tensors with the examples on the first axis."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A module, data for it, and a criterion: small, and ready for float64.

    Attributes:
        name: what the problem is about; unique.
        build: makes the module; its initial values do not matter.
        inputs: draws the model's inputs.
        targets: draws what the criterion compares with.
        criterion: ``criterion(output, *targets) -> (B,)``.
        training: whether the module is in training mode.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Sample
    targets: Sample
    criterion: Criterion
    training: bool = True


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each example, ``(B,)``."""
    return (output - target).flatten(start_dim=1).square().mean(dim=1)


def token_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of logits ``(B, T, V)``, averaged over each example's tokens, ``(B,)``."""
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none").mean(dim=1)


def class_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of logits ``(B, K)``, ``(B,)``."""
    return F.cross_entropy(output, target, reduction="none")


def gaussian_nll(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """Negative log-likelihood of a Gaussian given as mean and log of scale, ``(B,)``."""
    mean, log_scale = output
    return (0.5 * ((target - mean) / log_scale.exp()).square() + log_scale).sum(dim=1)


def contrastive(output: Tensor, target: Tensor) -> Tensor:
    """Each example against all others in the batch as negatives, ``(B,)``: mixes examples."""
    scores = output @ target.t()
    return -torch.log_softmax(scores, dim=1).diagonal()


def mean_over_batch(output: Tensor, target: Tensor) -> Tensor:
    """The batch's mean loss, given to every example, ``(B,)``: mixes examples."""
    losses = squared_error(output, target)
    return losses.mean().expand_as(losses)


def mean_target(output: Tensor, target: Tensor) -> Tensor:
    """Distance to the mean of all targets in the batch, ``(B,)``: mixes examples by their targets."""
    return squared_error(output, target.mean(dim=0, keepdim=True).expand_as(output))


def floats(*shapes: tuple[int, ...]) -> Sample:
    """Standard normal float64 tensors, ``(B, *shape)`` each."""

    def draw(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
        return tuple(torch.randn(size, *shape, generator=rng, dtype=torch.float64) for shape in shapes)

    return draw


def tokens(high: int, *shape: int) -> Sample:
    """Whole numbers below ``high``, ``(B, *shape)``."""

    def draw(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
        return (torch.randint(high, (size, *shape), generator=rng),)

    return draw


def regression(
    name: str,
    build: Callable[[], nn.Module],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    training: bool = True,
) -> Problem:
    """From floats to floats, with squared error."""
    return Problem(
        name=name,
        build=build,
        inputs=floats(inputs),
        targets=floats(outputs),
        criterion=squared_error,
        training=training,
    )


def classes(name: str, build: Callable[[], nn.Module], inputs: Sample) -> Problem:
    """From anything to logits ``(B, 3)``, with cross entropy."""
    return Problem(name=name, build=build, inputs=inputs, targets=tokens(3), criterion=class_cross_entropy)


def language(name: str, build: Callable[[], nn.Module]) -> Problem:
    """Three tokens of seven to three tokens of seven."""
    return Problem(
        name=name,
        build=build,
        inputs=tokens(7, 3),
        targets=tokens(7, 3),
        criterion=token_cross_entropy,
    )


def image(name: str, build: Callable[[], nn.Module], inputs: tuple[int, ...] = (2, 6, 6)) -> Problem:
    """Layers that keep an image an image, then a loss that tells pixels apart."""
    return Problem(name=name, build=build, inputs=floats(inputs), targets=tokens(3), criterion=_image_loss)


def _image_loss(output: Tensor, target: Tensor) -> Tensor:
    # Each pixel has its own weight, so that a shifted or mirrored gradient shows.
    flat = torch.tanh(output).flatten(start_dim=1)
    ramp = torch.linspace(-1.0, 2.0, flat.shape[1], dtype=flat.dtype, device=flat.device)
    return (flat * ramp).sum(dim=1) * (1 + target)
