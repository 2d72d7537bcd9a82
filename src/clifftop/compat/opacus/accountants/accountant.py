"""What has been released, and what it costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

from clifftop import accounting
from clifftop.accounting import Bound
from clifftop.events import (
    Composed,
    DpEvent,
    Gaussian,
    NeighboringRelation,
    NonPrivate,
    NoOp,
    PoissonSampled,
    SelfComposed,
)

Segment = tuple[float, float, int]
"""Noise multiplier, sampling probability, and how many such steps."""


class IAccountant(ABC):
    """Steps taken so far, and the epsilon that they cost.

    Every subclass computes the same certified bound; they differ in name alone.

    Attributes:
        history: ``(noise_multiplier, sample_rate, num_steps)`` in order. A pass over batches in a fixed
            order is one step of sample rate 1: each example is in one of its batches.
        neighboring_relation: adding or removing an example; zeroing one out once batches came in a fixed
            order, where an example more would shift all others.
    """

    def __init__(self) -> None:
        self.history: list[Segment] = []
        self.neighboring_relation = NeighboringRelation.ADD_OR_REMOVE_ONE

    @classmethod
    @abstractmethod
    def mechanism(cls) -> str:
        """The accountant's short name."""

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Note one step on a Poisson-sampled batch."""
        if self.history and self.history[-1][:2] == (noise_multiplier, sample_rate):
            self.history[-1] = (noise_multiplier, sample_rate, self.history[-1][2] + 1)
        else:
            self.history.append((noise_multiplier, sample_rate, 1))

    def charge(self, *, noise_multiplier: float, sampling_prob: float) -> None:
        """The same as `step`, in Clifftop's words."""
        self.step(noise_multiplier=noise_multiplier, sample_rate=sampling_prob)

    def charge_fixed(self, *, noise_multiplier: float) -> None:
        """Note one pass over batches in a fixed order."""
        self.neighboring_relation = NeighboringRelation.ZERO_OUT
        self.step(noise_multiplier=noise_multiplier, sample_rate=1.0)

    def event(self) -> DpEvent:
        """What has been released."""
        if not self.history:
            return NoOp()
        return Composed(tuple(_released(*segment) for segment in self.history))

    def epsilon(self, delta: float) -> Bound:
        """The cost so far, as a certified interval."""
        return accounting.epsilon(self.event(), delta=delta, neighboring_relation=self.neighboring_relation)

    def get_epsilon(
        self, delta: float, *, alphas: Sequence[float] | None = None, eps_error: float | None = None
    ) -> float:
        """The upper end of `epsilon`, never below the true cost.

        Args:
            delta: between 0 and 1.
            alphas: not needed; scripts pass orders of Renyi accounting here.
            eps_error: not needed; scripts pass a grid's error here.
        """
        del alphas, eps_error
        return self.epsilon(delta).upper

    def __len__(self) -> int:
        """Steps taken."""
        return sum(count for _, _, count in self.history)

    def state_dict(self) -> dict[str, Any]:
        """Numbers and names alone, so that it loads with ``weights_only=True``."""
        return {
            "history": list(self.history),
            "mechanism": self.mechanism(),
            "neighboring_relation": self.neighboring_relation.value,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, of this class or of Opacus.

        Raises:
            ValueError: the state holds no history.
        """
        if "history" not in state_dict:
            raise ValueError(
                f"the state must hold a history, found keys {sorted(state_dict)}; pass what an accountant's "
                "state_dict() gave"
            )
        self.history = [(float(s), float(q), int(n)) for s, q, n in state_dict["history"]]
        relation = state_dict.get("neighboring_relation", NeighboringRelation.ADD_OR_REMOVE_ONE.value)
        self.neighboring_relation = NeighboringRelation(relation)


def _released(noise_multiplier: float, sample_rate: float, steps: int) -> DpEvent:
    if noise_multiplier == 0:
        return NonPrivate()
    return SelfComposed(PoissonSampled(sample_rate, Gaussian(noise_multiplier)), steps)


@final
class RDPAccountant(IAccountant):
    """Opacus' name for Renyi accounting; here the same certified bound as the others.

    >>> accountant = RDPAccountant()
    >>> for _ in range(100):
    ...     accountant.step(noise_multiplier=1.0, sample_rate=0.01)
    >>> round(accountant.get_epsilon(delta=1e-5), 3)
    0.718
    """

    @classmethod
    def mechanism(cls) -> str:
        """``"rdp"``."""
        return "rdp"

    def get_privacy_spent(
        self, *, delta: float, alphas: Sequence[float] | None = None
    ) -> tuple[float, float]:
        """Epsilon, and NaN in place of an order of Renyi accounting, which the bound has none of."""
        return self.get_epsilon(delta, alphas=alphas), float("nan")


@final
class PRVAccountant(IAccountant):
    """Opacus' name for numerical accounting; here the same certified bound as the others."""

    @classmethod
    def mechanism(cls) -> str:
        """``"prv"``."""
        return "prv"


@final
class GaussianAccountant(IAccountant):
    """Opacus' name for a central limit, which can understate; here the same certified bound as the others."""

    @classmethod
    def mechanism(cls) -> str:
        """``"gdp"``."""
        return "gdp"
