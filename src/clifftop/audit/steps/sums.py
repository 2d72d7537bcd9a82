"""A step's noiseless release as a sum over examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from clifftop.audit.steps.adapter import PrivateStepUnderTest, UnusableStep, Vector, released
from clifftop.audit.steps.findings import StepCheck

REFUSALS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What a step may raise that cannot take a batch."""


@final
class Sums:
    """Noiseless releases times the claimed divisor, each batch asked for once; an empty one may fail.

    Args:
        step: the step.
        seed: of every release.
    """

    def __init__(self, step: PrivateStepUnderTest, *, seed: int) -> None:
        """See the class."""
        self.step, self.seed = step, seed
        self._known: dict[tuple[int, ...], Vector] = {}

    def __call__(self, indices: Sequence[int]) -> Vector:
        """The sum over the batch."""
        batch = tuple(int(index) for index in indices)
        if batch not in self._known:
            self._known[batch] = self._zero_or_sum(batch)
        return self._known[batch]

    def afresh(self, indices: Sequence[int]) -> Vector:
        """The sum over the batch, asked for again."""
        scale = self.step.claim.divisor_of(len(indices))
        return released(self.step, indices, noise=False, seed=self.seed) * scale

    @property
    def asked(self) -> int:
        """How many batches were asked for."""
        return len(self._known)

    def _zero_or_sum(self, batch: tuple[int, ...]) -> Vector:
        if batch:
            return self.afresh(batch)
        # What an empty batch does is a check of its own.
        return np.zeros(self.step.claim.size) if refusal_of_empty(self.step, self.seed) else self.afresh(())


def refusal_of_empty(step: PrivateStepUnderTest, seed: int) -> str:
    """What an empty batch is refused with; nothing if it is released."""
    try:
        released(step, (), noise=True, seed=seed)
    except UnusableStep:
        raise
    except REFUSALS as error:
        return refusal_of(error)
    return ""


def refusal_of(error: BaseException) -> str:
    """What a step raised, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def check_empty(step: PrivateStepUnderTest, *, seed: int) -> StepCheck:
    """An empty batch is released like any other: whether a batch was empty must not show.

    Where the claim has no empty batches (a fixed order, say) a step may refuse them.
    """
    refusal = refusal_of_empty(step, seed)
    found, passed = refusal, False
    if not refusal:
        noise = released(step, (), noise=True, seed=seed)
        passed = bool(np.any(noise != 0))
        found = "noise was released" if passed else "a release of exact zeros, without noise"
    elif not step.claim.may_be_empty:
        found, passed = "refused, and no batch of this claim is empty", True
    return StepCheck(
        name="empty-batch",
        must_hold="an empty batch must be released, with noise, as any other",
        found=found,
        passed=passed,
    )
