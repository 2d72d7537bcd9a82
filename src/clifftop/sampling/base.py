"""What a batch sampler promises: which examples make up the batch of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
"""Row numbers of one batch, ``(b,)``; b may be 0."""

StepGenerators = Callable[[int], np.random.Generator]
"""The random generator of a step: sampling is a function of (seed, step), so that it can resume."""


class BatchSampler(ABC):
    """A law for drawing batches. Its fields are public; how many examples there are is an argument."""

    @abstractmethod
    def batch(self, step: int, *, num_examples: int, rng: StepGenerators) -> Indices:
        """The batch of ``step`` (from 0), drawn with that step's own generator ``rng(step)``."""

    def batches(self, num_examples: int, rng: StepGenerators, start: int = 0) -> Iterator[Indices]:
        """Batches from step ``start`` on, without end."""
        step = start
        while True:
            yield self.batch(step, num_examples=num_examples, rng=rng)
            step += 1
