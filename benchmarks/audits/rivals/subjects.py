"""The small models that every library is asked to train, and the settings that all share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from clifftop.audit.steps import SamplingClaim, StepClaim, hard_examples
from clifftop.events import NeighboringRelation

NUM_EXAMPLES, BATCH_SIZE = 32, 4
SAMPLING_PROB = BATCH_SIZE / NUM_EXAMPLES
CLIP_NORM, SIGMA = 1.4, 1.3
"""Neither is 1: a clip norm that is forgotten, or squared, shows. About half of the examples are clipped."""


class Scope(StrEnum):
    """Which examples may be named, so that one finding does not hide another."""

    ALL = "all examples"
    FINITE = "finite inputs"
    MODERATE = "inputs up to 1e6"


class Tokens(nn.Module):
    """A mean of embeddings, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 5)
        self.linear = nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, 4)`` tokens to ``(B, 3)`` logits."""
        return self.linear(self.embedding(tokens).mean(dim=1))


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model and its examples: the first 32 are the data, hard ones come after them."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor

    def module(self) -> nn.Module:
        """The model, always with the same numbers."""
        torch.manual_seed(1)
        return self.build()

    def examples(self, scope: Scope) -> tuple[Tensor, Tensor]:
        """The data and hard examples, as far as the scope goes."""
        (inputs,), (targets,) = hard_examples((self.inputs,), (self.targets,))
        limit = {Scope.ALL: None, Scope.FINITE: torch.inf, Scope.MODERATE: 1e6}[scope]
        if limit is None:
            return inputs, targets
        largest = inputs.flatten(1).abs().amax(dim=1)  # NaN where one is
        return inputs[largest < limit], targets[largest < limit]


def tasks() -> dict[str, Task]:
    """An MLP, a small CNN and a mean of embeddings, by name."""
    torch.manual_seed(0)
    targets = torch.randint(0, 3, (NUM_EXAMPLES,))
    made = (
        Task(
            name="mlp",
            build=lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)),
            inputs=torch.randn(NUM_EXAMPLES, 6),
            targets=targets,
        ),
        Task(
            name="cnn",
            build=lambda: nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
            ),
            inputs=torch.randn(NUM_EXAMPLES, 1, 6, 6),
            targets=targets,
        ),
        Task(name="embedding", build=Tokens, inputs=torch.randint(0, 12, (NUM_EXAMPLES, 4)), targets=targets),
    )
    return {task.name: task for task in made}


def claim_for(
    parameters: list[tuple[str, int]], *, clip_norm: float = CLIP_NORM, noise_multiplier: float = SIGMA
) -> StepClaim:
    """The claim that all make: Poisson sampling, one clip norm of sensitivity, Gaussian noise."""
    return StepClaim(
        clip_norm=clip_norm,
        noise_multiplier=noise_multiplier,
        divisor=BATCH_SIZE,
        relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        parameters=tuple(parameters),
        sampling=SamplingClaim(sampling_prob=SAMPLING_PROB, num_examples=NUM_EXAMPLES),
    )
