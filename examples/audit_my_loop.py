"""A private training loop of one's own under audit: the step keeps its claim, and a faulty one does not.

From a shell: ``clifftop audit step audit_my_loop:step`` in this folder.
"""

from collections.abc import Sequence

import numpy as np

from clifftop.audit import assert_private, check_step
from clifftop.audit.steps import SamplingClaim, StepClaim
from clifftop.events import NeighboringRelation

RATE, NUM_EXAMPLES, CLIP_NORM, SIGMA = 0.125, 64, 1.0, 1.5


class LogisticStep:
    """Clipped gradients of a logistic regression, summed, noised, over the expected batch size."""

    def __init__(self, *, clips_the_mean: bool = False) -> None:
        rng = np.random.default_rng(0)
        self._x, self._y = rng.normal(size=(NUM_EXAMPLES, 5)) * 4, rng.integers(0, 2, NUM_EXAMPLES)
        self._weights = rng.normal(size=5)
        self._clips_the_mean = clips_the_mean
        self.examples = NUM_EXAMPLES
        self.claim = StepClaim(
            clip_norm=CLIP_NORM,
            noise_multiplier=SIGMA,
            divisor=RATE * NUM_EXAMPLES,
            relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            parameters=(("weights", 5),),
            sampling=SamplingClaim(sampling_prob=RATE, num_examples=NUM_EXAMPLES),
        )

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> np.ndarray:
        """What the optimiser would receive for this batch."""
        x, y = self._x[list(indices)], self._y[list(indices)]
        grads = (1 / (1 + np.exp(-x @ self._weights)) - y)[:, None] * x
        if self._clips_the_mean:  # a real bug: one example may then move the mean by up to its whole length
            mean = grads.sum(axis=0) / self.claim.divisor
            total = mean * min(1.0, CLIP_NORM / max(np.linalg.norm(mean), 1e-12)) * self.claim.divisor
        else:
            norms = np.linalg.norm(grads, axis=1, keepdims=True)
            total = (grads * np.minimum(1.0, CLIP_NORM / np.maximum(norms, 1e-12))).sum(axis=0)
        drawn = np.random.default_rng(seed).normal(0, SIGMA * CLIP_NORM, 5) if noise else 0.0
        return (total + drawn) / self.claim.divisor

    def sample(self, step: int, seed: int) -> list[int]:
        """The batch of a step, each example by itself."""
        drawn = np.random.default_rng((seed, step)).random(NUM_EXAMPLES) < RATE
        return np.flatnonzero(drawn).tolist()


def step() -> LogisticStep:
    """What `clifftop audit step` asks for."""
    return LogisticStep()


if __name__ == "__main__":
    print(assert_private(step()))
    print("\nClipping the mean instead of each example:")
    for finding in check_step(LogisticStep(clips_the_mean=True)).findings:
        print(f"{finding.name}: {finding.found}")
