"""Batches in a fixed, public order: what a data loader without shuffling does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.sampling.base import BatchSampler, Indices, StepGenerators


@final
@dataclass(frozen=True, kw_only=True)
class FixedOrder(BatchSampler):
    """Rows in their own order, ``batch_size`` at a time; the last batch of an epoch may be smaller.

    No amplification: whoever knows the order knows when each example took part. The number of
    examples is public under every relation this sampler can be accounted for.

    >>> FixedOrder(batch_size=4).batch(2, num_examples=10, rng=np.random.default_rng).tolist()
    [8, 9]
    """

    batch_size: int

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size must be a whole number >= 1, found batch_size={self.batch_size!r}")

    def batch(self, step: int, *, num_examples: int, rng: StepGenerators) -> Indices:
        """The step's slice of the order; nothing is drawn."""
        del rng
        start = (step % self.steps_per_epoch(num_examples)) * self.batch_size
        return np.arange(start, min(start + self.batch_size, num_examples))

    def steps_per_epoch(self, num_examples: int) -> int:
        """Batches that make up one pass.

        Raises:
            ValueError: the batch is larger than the data.
        """
        if self.batch_size > num_examples:
            raise ValueError(
                f"batch_size must not exceed the number of examples, found batch_size={self.batch_size} "
                f"and num_examples={num_examples}; use a smaller batch"
            )
        return math.ceil(num_examples / self.batch_size)

    def participations(self, *, steps: int, num_examples: int) -> int:
        """The largest number of batches that any one example takes part in."""
        return math.ceil(steps / self.steps_per_epoch(num_examples))
