"""Dirac canaries: gradients of the clip norm on axes of their own, put in after clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from clifftop.audit.one_run.protocol import CanaryKind, Coins, Scores
from clifftop.audit.runs import TrainingClaim, TrainingUnderTest, log_likelihood_ratios

KIND = CanaryKind(
    name="Dirac canaries",
    sees="sampler, noise and release of every step; not how gradients are made and clipped",
    independent=True,
)


@final
@dataclass(frozen=True, kw_only=True)
class DiracCanaries:
    """One run of a training that `clifftop.audit.runs` audits by many; a `OneRunTraining`.

    Attributes:
        training: such as `clifftop.audit.runs.ours` makes.
    """

    training: TrainingUnderTest

    @property
    def claim(self) -> TrainingClaim:
        """The training's."""
        return self.training.claim

    @property
    def num_canaries(self) -> int:
        """How many canaries there are."""
        return self.training.num_canaries

    @property
    def kind(self) -> CanaryKind:
        """Dirac canaries."""
        return KIND

    def scores(self, included: Coins, *, seed: int) -> Scores:
        """Log-likelihood ratios of all that was released, ``(m,)``."""
        seen = self.training.observe(included[None, :], seed=seed)
        return log_likelihood_ratios(seen.releases, self.claim)[0]
