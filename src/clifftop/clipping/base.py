"""What a clipping rule promises: a sum in which no example weighs more than a stated bound."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from torch import Tensor

from clifftop.events import DpEvent, NoOp
from clifftop.flow import ClippedSum, GroupMap, PerExampleGrads

S = TypeVar("S")


class ClippingRule(ABC, Generic[S]):
    """A map from per-example norms to per-example weights.

    The rule's numbers live in its state, one row a run, so that runs that differ only in them are
    clipped together.
    """

    @abstractmethod
    def init(self, *, device_of: Tensor) -> S:
        """The state of one run: tensors with a first axis of size 1, on the device and dtype given."""

    @abstractmethod
    def stack(self, states: Iterable[S]) -> S:
        """The states of several runs as one, run after run."""

    @abstractmethod
    def template(self) -> ClippingRule[S]:
        """This rule with the numbers that live in its state set to 1; equal templates clip together."""

    @abstractmethod
    def groups(self, names: Iterable[str]) -> GroupMap:
        """Which parameters are clipped together."""

    @abstractmethod
    def weights(self, sq_norms: Tensor, mask: Tensor, state: S) -> Tensor:
        """Weights ``(R, B, G)`` for squared norms ``(R, B, G)``; 0 where ``mask`` is False."""

    @abstractmethod
    def norm_bound(self, state: S) -> Tensor:
        """The largest L2 norm of one example's weighted gradient, ``(R,)``."""

    @property
    def bounds_examples(self) -> bool:
        """Whether the bound is finite; without one nothing can be claimed, whatever the noise."""
        return math.isfinite(getattr(self, "clip_norm", 0.0))

    @property
    def scales_noise(self) -> bool:
        """Whether there is a finite number for noise to be in proportion to."""
        return self.bounds_examples

    def noise_scale_of(self, state: S) -> Tensor:
        """What noise is in proportion to, ``(R,)``: the bound, where there is one."""
        return self.norm_bound(state)

    def __call__(self, grads: PerExampleGrads, mask: Tensor, state: S) -> tuple[ClippedSum, Tensor, S]:
        """The clipped sum, the weights that made it, and the next state."""
        weights = self.weights(grads.sq_norms(), mask, state)
        total = ClippedSum(
            value=grads.weighted_sum(weights),
            norm_bound=self.norm_bound(state),
            noise_scale=None if self.bounds_examples else self.noise_scale_of(state),
        )
        return total, weights, state

    def event(self) -> DpEvent:
        """What the rule itself reads from the data, beyond the clipped sum: nothing, by default."""
        return NoOp()
