"""What an audit asks of a training step: its claim, and the vector that its optimiser would receive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clifftop.events import NeighboringRelation
from clifftop.events.base import require_count, require_positive, require_probability

Vector = NDArray[np.float64]
"""All trained parameters' numbers side by side, ``(P,)``."""


@final
@dataclass(frozen=True, kw_only=True)
class SamplingClaim:
    """Poisson sampling: each of ``num_examples`` joins each batch with ``sampling_prob``, independently."""

    sampling_prob: float
    num_examples: int

    def __post_init__(self) -> None:
        require_probability("sampling_prob", self.sampling_prob, advice="claim the rate that is accounted")
        require_count("num_examples", self.num_examples)


@final
@dataclass(frozen=True, kw_only=True)
class StepClaim:
    """What a step is accounted as.

    Attributes:
        clip_norm: the largest L2 norm that one example may add to the sum, before any division.
        noise_multiplier: standard deviation of the noise on that sum, divided by ``clip_norm``.
        divisor: what the noisy sum is divided by; 1 for a step that releases the sum, None for one that
            divides by the realised batch size, which no claim for adding or removing an example allows.
        relation: which data sets the guarantee compares.
        parameters: name and size of each block of the released vector, in order.
        sampling: how batches are drawn, if the claim rests on it.

    Raises:
        ValueError: a number is out of its range, or ``divisor`` is None where sizes differ.
    """

    clip_norm: float
    noise_multiplier: float
    divisor: float | None
    relation: NeighboringRelation
    parameters: tuple[tuple[str, int], ...]
    sampling: SamplingClaim | None = None

    def __post_init__(self) -> None:
        require_positive("clip_norm", self.clip_norm, advice="a claim needs a bound")
        require_positive("noise_multiplier", self.noise_multiplier, advice="a claim needs noise")
        if self.divisor is not None:
            require_positive("divisor", self.divisor, advice="pass 1 for a step that releases the sum")
        elif self.relation is NeighboringRelation.ADD_OR_REMOVE_ONE:
            raise ValueError(
                "divisor must be a public number where neighbouring data sets differ in size, found "
                "divisor=None with ADD_OR_REMOVE_ONE; pass the number that the step divides by"
            )
        if not self.parameters or any(size < 1 for _, size in self.parameters):
            raise ValueError(
                f"parameters must be blocks of at least one number, found parameters={self.parameters}; "
                "pass (name, size) of every trained parameter"
            )

    def __str__(self) -> str:
        """The claim in one line."""
        sampled = "" if self.sampling is None else f", Poisson sampling at {self.sampling.sampling_prob:g}"
        divided = "the batch size" if self.divisor is None else f"{self.divisor:g}"
        return (
            f"clip norm {self.clip_norm:g}, noise multiplier {self.noise_multiplier:g}{sampled}, divided by "
            f"{divided}, {self.relation.name.lower().replace('_', ' ')}"
        )

    @property
    def size(self) -> int:
        """P, how many numbers a release has."""
        return sum(size for _, size in self.parameters)

    @property
    def may_be_empty(self) -> bool:
        """Whether a batch can be empty: under Poisson sampling, or with nothing that rules it out."""
        return self.sampling is not None or self.relation is NeighboringRelation.ADD_OR_REMOVE_ONE

    def divisor_of(self, batch_size: int) -> float:
        """What the sum over a batch of this size is divided by."""
        return float(max(1, batch_size)) if self.divisor is None else self.divisor

    def noise_std(self, batch_size: int) -> float:
        """The standard deviation that each number of a release must have, given the batch."""
        return self.noise_multiplier * self.clip_norm / self.divisor_of(batch_size)

    def blocks(self) -> tuple[tuple[str, slice], ...]:
        """Where each parameter lies in a release.

        >>> StepClaim(
        ...     clip_norm=1.0,
        ...     noise_multiplier=1.0,
        ...     divisor=8.0,
        ...     relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        ...     parameters=(("weight", 6), ("bias", 2)),
        ... ).blocks()
        (('weight', slice(0, 6, None)), ('bias', slice(6, 8, None)))
        """
        ends = np.cumsum([size for _, size in self.parameters]).tolist()
        starts = (0, *ends)
        names = (name for name, _ in self.parameters)
        return tuple((name, slice(a, b)) for name, a, b in zip(names, starts, ends, strict=False))


class PrivateStepUnderTest(Protocol):
    """A training step whose release can be asked for, again and again, at the same parameters.

    The step may be any library's or a loop of the user's own. Three things are asked of the adapter:
    parameters stay as they are (no optimiser step is taken, or it is undone); whatever the step draws
    besides its noise is a function of ``seed`` and, within a batch, of the example alone (dropout is best
    left off); and nothing is caught or repaired on the way.
    """

    @property
    def claim(self) -> StepClaim:
        """What the step is accounted as."""
        ...

    @property
    def examples(self) -> int:
        """How many examples may be named; best with hard ones among them (`hard_examples`)."""
        ...

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """The vector ``(P,)`` that the optimiser would receive for a batch of these examples, in this order.

        An index that comes twice stands for two examples that are alike. Different seeds stand for
        different steps, consecutive seeds for consecutive steps; without ``noise`` the rest is the same.
        """
        ...


@runtime_checkable
class Sampling(Protocol):
    """A step under test whose batches can be drawn, too."""

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """The examples of the batch of ``step`` in the run with ``seed``; maybe none."""
        ...


class UnusableStep(ValueError):
    """An adapter does not give what it must, so nothing can be said of its step; one line."""


def released(step: PrivateStepUnderTest, indices: Sequence[int], *, noise: bool, seed: int) -> Vector:
    """A release in double precision.

    Raises:
        UnusableStep: it has not the size that the claim says.
    """
    vector = np.asarray(step.release(tuple(indices), noise=noise, seed=seed), dtype=np.float64)
    if vector.shape != (step.claim.size,):
        raise UnusableStep(
            f"a release must hold every number of the claimed parameters, found shape={vector.shape} for "
            f"P={step.claim.size}; flatten all parameters' gradients in the claim's order"
        )
    return vector
