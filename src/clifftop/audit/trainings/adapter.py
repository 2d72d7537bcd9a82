"""What an audit may ask of a whole training: a few capabilities, of which an adapter has those it can give.

An adapter is any object with some of these methods. What it has not is not checked, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.steps import SamplingClaim
from clifftop.events import DpEvent, NeighboringRelation
from clifftop.events.base import require_positive

Array = NDArray[np.float64]


class Data(StrEnum):
    """Which private examples a training is given."""

    GIVEN = "given"
    OTHER = "other"
    """As many other examples of the same form."""
    NONE = "none"
    """The given ones, of which the sampler never draws any: every batch is empty."""


class UnusableTraining(ValueError):
    """An adapter does not give what it must, so nothing can be said of its training; one line."""


@final
@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one training did, step by step.

    Attributes:
        releases: ``(T, K)`` every number that the step took from the private data under noise: the noisy
            sum, and a noisy count or quantile if there is one.
        noise: ``(T, K)`` the noise in them.
        parameters: ``(T, P)`` the parameters after each step.
        charged: ``(T,)`` how many releases the ledger holds after each step.
        public: all else that leaves the training or steers it, by name: clip norms, learning rates,
            buffers of the saved model, the step that was kept, what is logged.
        batches: the examples of each step's batch; empty where they are not shown.
    """

    releases: Array
    noise: Array
    parameters: Array
    charged: NDArray[np.int64]
    public: Mapping[str, Array] = field(default_factory=dict[str, Array])
    batches: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        steps = {len(one) for one in (self.releases, self.noise, self.parameters, self.charged)}
        if len(steps) != 1 or self.releases.shape != self.noise.shape:
            raise UnusableTraining(
                f"a trace must hold one row a step, found releases {self.releases.shape}, noise "
                f"{self.noise.shape}, parameters {self.parameters.shape}, charged {self.charged.shape}; "
                "give a row for every step that took place"
            )


@runtime_checkable
class Prepares(Protocol):
    """A training that prepares its examples before it draws from them."""

    def rows(self) -> Array:
        """``(n, d)`` private examples as they come."""
        ...

    def prepare(self, rows: Array) -> Array:
        """``(n, ...)`` the same examples as they are trained on, in the same order."""
        ...


@runtime_checkable
class HasPublicNumbers(Protocol):
    """A training that derives numbers before the first step, which are taken to be public."""

    def rows(self) -> Array:
        """``(n, d)`` private examples as they come."""
        ...

    def public_numbers(self, rows: Array) -> Mapping[str, float]:
        """The divisor, the number of steps, the rate, weights of classes, bounds: all used without noise."""
        ...


@runtime_checkable
class Runs(Protocol):
    """A training that can be run for a few steps, stopped and resumed, and fed with releases."""

    def run(
        self,
        *,
        steps: int,
        seed: int,
        data: Data = Data.GIVEN,
        stop_and_resume_at: int | None = None,
        releases: Array | None = None,
    ) -> Trace:
        """Train.

        Args:
            steps: T; all are to be made, so that an adapter turns off a stop by budget.
            seed: of everything that is drawn.
            data: the private examples.
            stop_and_resume_at: save before this step, forget everything, and go on from what was saved.
            releases: ``(T, K)`` to be used in place of the step's own ones, wherever these are used.
        """
        ...


@final
@dataclass(frozen=True, kw_only=True)
class RanksClaim:
    """What a step over several workers is accounted as, whatever their number.

    Attributes:
        sampling: the one global Poisson draw.
        noise_std: standard deviation of the noise in the reduced sum.
    """

    sampling: SamplingClaim
    noise_std: float

    def __post_init__(self) -> None:
        require_positive("noise_std", self.noise_std, advice="claim sigma times the clip norm")


@final
@dataclass(frozen=True, kw_only=True)
class RankedStep:
    """What M workers did in one step.

    Attributes:
        indices: the examples of each worker's part of the batch.
        noise: ``(M, K)`` what each worker added to its own sum before the reduction; zeros for none.
        reduced: ``(K,)`` the noise in the reduced sum, before any division.
    """

    indices: tuple[tuple[int, ...], ...]
    noise: Array
    reduced: Array


@runtime_checkable
class Distributed(Protocol):
    """A training over several workers, which may be simulated."""

    @property
    def ranks_claim(self) -> RanksClaim:
        """What is claimed of the workers' steps together."""
        ...

    def ranks(self, step: int, *, seed: int, world_size: int) -> RankedStep:
        """One step of ``world_size`` workers."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Reported:
    """The privacy loss that a training reports, and what it did.

    Attributes:
        epsilon: reported.
        delta: reported with it.
        event: everything that was released, as the adapter knows it to have been done.
        relation: which data sets the report compares.
    """

    epsilon: float
    delta: float
    event: DpEvent
    relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE


@runtime_checkable
class ReportsEpsilon(Protocol):
    """A training that reports its privacy loss."""

    def reported(self) -> Reported:
        """Its report, after a training as the study would make it."""
        ...


@runtime_checkable
class HasAccountant(Protocol):
    """A training with an accountant of Poisson-sampled Gaussian releases that can be asked."""

    def epsilon_of(self, *, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        """Epsilon, or an upper bound on it."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A search over settings, each trained on the private data, whose best model is released.

    Attributes:
        parameters: ``(k, P)`` the candidates' models.
        noise: ``(k, K)`` the noise of each candidate's first release.
        charged_runs: how many trainings the report charges, or stands for.
        charged_scores: how many scores it charges.
        reported: what is reported for the search; ``event`` is one candidate's training.
    """

    parameters: Array
    noise: Array
    charged_runs: int
    charged_scores: int
    reported: Reported


@runtime_checkable
class Tunes(Protocol):
    """A training whose settings are searched for."""

    def score(self, parameters: Array, *, data: Data) -> float:
        """The score that the search compares models by, where the private examples are ``data``."""
        ...

    def tune(self, candidates: int, *, seed: int) -> Tuned:
        """Train this many candidates and choose."""
        ...


CAPABILITIES: tuple[tuple[type, str, str], ...] = (
    (Prepares, "preparation", "rows() and prepare(rows)"),
    (HasPublicNumbers, "public numbers", "rows() and public_numbers(rows)"),
    (Runs, "restarts, charges and what the model is made of", "run(...)"),
    (Distributed, "several workers", "ranks_claim and ranks(...)"),
    (ReportsEpsilon, "the reported epsilon", "reported()"),
    (HasAccountant, "the accountant", "epsilon_of(...)"),
    (Tunes, "the search for settings", "score(...) and tune(...)"),
)
"""Each capability, what is not checked without it, and what an adapter must have for it."""
