"""What a noise mechanism promises: a sum that may be released."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from clifftop.flow import ClippedSum, NoisySum, Params

S = TypeVar("S")


class NoiseStream(Protocol):
    """Standard normal numbers for the current step, from each run's own stream."""

    def normal(self, like: Params) -> Params:
        """Independent standard normals, shaped as ``like``: ``(R, ...)`` each."""
        ...

    def add_normal(self, value: Params, std: Tensor) -> Params:
        """``value`` plus ``std``, ``(R,)``, times the numbers that `normal` gives, as new tensors."""
        ...


class NoiseMechanism(ABC, Generic[S]):
    """Adds noise in proportion to the bound that a clipped sum carries."""

    @abstractmethod
    def init(self, *, device_of: Tensor) -> S:
        """The state of one run: tensors with a first axis of size 1, on the device and dtype given."""

    @abstractmethod
    def stack(self, states: Iterable[S]) -> S:
        """The states of several runs as one, run after run."""

    @abstractmethod
    def template(self) -> NoiseMechanism[S]:
        """This mechanism with the numbers that live in its state set to 1; equal templates run together."""

    def independent_std(self, norm_bound: Tensor, state: S) -> Tensor | None:
        """Standard deviation ``(R,)`` for a sum of this bound, where the noise is just independent normals.

        None for a mechanism that keeps anything from step to step.
        """
        del norm_bound, state
        return None

    @abstractmethod
    def __call__(self, total: ClippedSum, state: S, stream: NoiseStream) -> tuple[NoisySum, S]:
        """The noisy sum and the next state."""
