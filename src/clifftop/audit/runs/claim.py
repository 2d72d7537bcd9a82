"""What a whole training claims, and what it is accounted as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from clifftop.accounting import epsilon
from clifftop.accounting.base import Bound
from clifftop.events import DpEvent, Gaussian, NeighboringRelation, NoOp, PoissonSampled, SelfComposed
from clifftop.events.base import require_count, require_positive, require_probability
from clifftop.noise import Gaussian as GaussianNoise
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson

RELATIONS = (NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.ZERO_OUT)


@final
@dataclass(frozen=True, kw_only=True)
class TrainingClaim:
    """A training with Poisson sampling and Gaussian noise.

    Attributes:
        sampling_prob: chance of each example to be in each batch, in (0, 1].
        noise_multiplier: standard deviation of the noise, divided by the clip norm.
        steps: how many noisy sums are released.
        delta: at which epsilon is meant, in (0, 1).
        relation: which data sets are compared; the canary is there or not, so that it must be one under
            which an example may be missing.

    Raises:
        ValueError: a number is out of its range, or the relation replaces examples.

    >>> claim = TrainingClaim(sampling_prob=0.128, noise_multiplier=1.974, steps=160, delta=1e-5)
    >>> f"{claim.epsilon.upper:.2f}"
    '4.00'
    """

    sampling_prob: float
    noise_multiplier: float
    steps: int
    delta: float
    relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE

    def __post_init__(self) -> None:
        require_probability("sampling_prob", self.sampling_prob, advice="claim the rate that is accounted")
        require_positive("noise_multiplier", self.noise_multiplier, advice="a claim needs noise")
        require_count("steps", self.steps)
        if self.steps < 1 or not 0 < self.delta < 1:
            raise ValueError(
                f"a training must have steps >= 1 and delta in (0, 1), found steps={self.steps} "
                f"delta={self.delta!r}; take those of the claim"
            )
        if self.relation not in RELATIONS:
            raise ValueError(
                "a canary is in the data or not, so the relation must be one of "
                f"{', '.join(r.name for r in RELATIONS)}, found relation={self.relation.name}; state "
                "the claim for one of these"
            )

    @property
    def event(self) -> DpEvent:
        """What the accountant is asked about."""
        return SelfComposed(PoissonSampled(self.sampling_prob, Gaussian(self.noise_multiplier)), self.steps)

    @property
    def epsilon(self) -> Bound:
        """Epsilon at ``delta``."""
        return epsilon(self.event, delta=self.delta, neighboring_relation=self.relation)

    def __str__(self) -> str:
        """The claim in one line."""
        return (
            f"epsilon {self.epsilon.upper:.4g} at delta {self.delta:g}: {self.steps} steps, Poisson sampling "
            f"at {self.sampling_prob:g}, noise multiplier {self.noise_multiplier:g}, "
            f"{self.relation.name.lower().replace('_', ' ')}"
        )


def claim_of(plan: PrivacyPlan, *, steps: int, delta: float) -> TrainingClaim:
    """What a Poisson-sampled Gaussian plan is accounted as.

    Raises:
        ValueError: the plan is another, its clipping rule has a cost of its own, or its relation replaces
            examples.
    """
    if not (
        isinstance(plan.sampler, Poisson)
        and isinstance(plan.noise, GaussianNoise)
        and plan.is_private
        and plan.clipping.event() == NoOp()
    ):
        raise ValueError(
            "a plan must claim a Poisson-sampled Gaussian mechanism and nothing beside it to be audited as a "
            f"whole, found sampler={plan.sampler} noise={plan.noise} clipping={plan.clipping}; audit such a "
            "plan, or say by claim=, where it is taken, what the training is accounted as"
        )
    return TrainingClaim(
        sampling_prob=plan.sampler.sampling_prob,
        noise_multiplier=plan.noise.noise_multiplier,
        steps=steps,
        delta=delta,
        relation=plan.neighboring_relation,
    )
