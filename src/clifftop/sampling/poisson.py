"""Poisson sampling: each example joins each batch independently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.sampling.base import BatchSampler, Indices, StepGenerators


@final
@dataclass(frozen=True, kw_only=True)
class Poisson(BatchSampler):
    """Each example is in each batch with probability ``sampling_prob``, independently.

    The only sampler here with amplification by subsampling. A batch may be empty, and is a batch
    all the same.

    Attributes:
        sampling_prob: in (0, 1], a public number.

    >>> Poisson(sampling_prob=0.5).batch(0, num_examples=6, rng=np.random.default_rng).tolist()
    [1, 2, 3]
    """

    sampling_prob: float

    def __post_init__(self) -> None:
        if not 0 < self.sampling_prob <= 1:
            raise ValueError(
                f"sampling_prob must be in (0, 1], found sampling_prob={self.sampling_prob}; "
                "pass expected_batch_size / num_examples"
            )

    def batch(self, step: int, *, num_examples: int, rng: StepGenerators) -> Indices:
        """The examples whose uniform draw falls below the sampling probability."""
        return np.flatnonzero(rng(step).random(num_examples) < self.sampling_prob)
