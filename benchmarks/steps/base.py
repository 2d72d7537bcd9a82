"""What an engine is to the benchmark: built once on a task, then asked for steps."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from steps.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every private engine is told; the noise's deviation is ``noise_multiplier * clip_norm``."""

    clip_norm: float = 1.0
    noise_multiplier: float = 1.0
    lr: float = 0.1


Phase = tuple[str, Callable[[], object]]
"""A named part of a step; calling the parts in order makes one step."""


class Engine(ABC):
    """One way to train a task's model on its batch: SGD, the gradient divided by B.

    Attributes:
        module: the user's own model, whose parameters every engine leaves up to date.
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task, self.settings = task, settings
        self.module = self.model()
        self._batches = itertools.cycle([task.batch(i) for i in range(task.num_batches)])
        self.advance()
        self.prepare()

    def advance(self) -> None:
        """Go on to the task's next batch; an engine that keeps its batch at hand stays with the first."""
        self.inputs, self.targets = next(self._batches)

    def model(self) -> nn.Module:
        """The task's model."""
        return self.task.model()

    @abstractmethod
    def prepare(self) -> None:
        """Wrap the model, build the optimiser."""

    @abstractmethod
    def step(self) -> None:
        """One whole training step."""

    def parameters(self) -> dict[str, Tensor]:
        """The parameters now, by the model's own names."""
        return {name: p.detach() for name, p in self.module.named_parameters()}

    def settled(self) -> dict[str, Tensor]:
        """The parameters with whatever noise is still owed; most engines owe none."""
        return self.parameters()

    def phases(self) -> Iterator[Phase]:
        """The parts of a step, for an engine that can be taken apart."""
        return iter(())
