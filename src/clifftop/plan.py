"""The privacy plan: sampler, clipping and noise together decide what may be claimed.

This module holds the one place where a privacy claim is made: `PrivacyPlan.event`. Pairs of sampler
and noise that are not listed there are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

from clifftop import events
from clifftop.clipping import ClippingRule
from clifftop.events import (
    Composed,
    DpEvent,
    NeighboringRelation,
    NonPrivate,
    NoOp,
    PoissonSampled,
    SelfComposed,
)
from clifftop.noise import Gaussian, NoiseMechanism
from clifftop.sampling import BatchSampler, FixedOrder, Poisson

Calibrator = Callable[[Callable[[float], DpEvent]], float]
"""Finds a noise multiplier for a family of events; see `clifftop.accounting.calibrate_noise_multiplier`."""


@final
@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """How a run touches its data.

    Attributes:
        sampler: which examples make up a batch.
        clipping: what bounds one example's influence on a step.
        noise: what is added to the clipped sum.
        neighboring_relation: which data sets the guarantee compares.
        expected_batch_size: the public number that the noisy sum is divided by. None divides by the
            realised batch size, which only a fixed order may do: there the sizes are public.

    Raises:
        ValueError: the parts do not fit together.
    """

    sampler: BatchSampler
    clipping: ClippingRule[Any]
    noise: NoiseMechanism[Any]
    neighboring_relation: NeighboringRelation
    expected_batch_size: float | None = None

    def __post_init__(self) -> None:
        size = self.expected_batch_size
        if size is None and not isinstance(self.sampler, FixedOrder):
            raise ValueError(
                f"expected_batch_size must be given with {type(self.sampler).__name__} sampling, found None: "
                "dividing by the realised size would leak it; pass sampling_prob * num_examples"
            )
        if size is not None and not (size > 0 and math.isfinite(size)):
            raise ValueError(f"expected_batch_size must be finite and > 0, found expected_batch_size={size}")
        silent = getattr(self.noise, "noise_multiplier", None) == 0
        if not self.clipping.scales_noise and not silent:
            bound = getattr(self.clipping, "clip_norm", None)
            found = self.clipping if bound is None else f"clip_norm={bound}"
            raise ValueError(
                f"noise must have a norm bound to be in proportion to, found {found} with "
                f"{self.noise}; set a clip norm, or noise_multiplier=0 for a run without privacy"
            )
        added = self.neighboring_relation is NeighboringRelation.ADD_OR_REMOVE_ONE
        if isinstance(self.sampler, FixedOrder) and added:
            raise ValueError(
                "a fixed order must be accounted with a relation that keeps the size, found "
                "ADD_OR_REMOVE_ONE (one example more shifts all later batches); use ZERO_OUT or REPLACE_ONE"
            )

    def event(self, *, steps: int, num_examples: int) -> DpEvent:
        """What ``steps`` steps on ``num_examples`` examples release.

        Poisson sampling with Gaussian noise is the subsampled Gaussian mechanism, composed (Abadi
        et al. 2016). In a fixed order each example meets each epoch once, so its cost is one
        Gaussian release an epoch, without amplification. Where nothing bounds an example, or there is no
        noise, the event is `clifftop.events.NonPrivate`: its epsilon is infinite.

        Raises:
            ValueError: no event is known for this sampler with this noise.
        """
        if not self.is_private:
            return NonPrivate()
        match self.sampler, self.noise:
            case Poisson(sampling_prob=q), Gaussian(noise_multiplier=sigma):
                training: DpEvent = SelfComposed(PoissonSampled(q, events.Gaussian(sigma)), steps)
            case FixedOrder() as order, Gaussian(noise_multiplier=sigma):
                count = order.participations(steps=steps, num_examples=num_examples)
                training = events.FixedOrder(events.Gaussian(sigma), count)
            case sampler, noise:
                raise ValueError(
                    f"a plan needs a proven event, found none for {type(sampler).__name__} with "
                    f"{type(noise).__name__}; use Poisson or FixedOrder with Gaussian"
                )
        clipping = self.clipping.event()
        return training if clipping == NoOp() else Composed((SelfComposed(clipping, steps), training))

    @property
    def is_private(self) -> bool:
        """Whether anything can be claimed: a finite bound on each example and noise above zero."""
        return self.clipping.bounds_examples and getattr(self.noise, "noise_multiplier", 1.0) > 0

    def calibrate(self, calibrator: Calibrator, *, steps: int, num_examples: int) -> PrivacyPlan:
        """The same plan with the Gaussian noise that ``calibrator`` finds."""

        def with_noise(sigma: float) -> PrivacyPlan:
            return replace(self, noise=Gaussian(noise_multiplier=sigma))

        found = calibrator(lambda sigma: with_noise(sigma).event(steps=steps, num_examples=num_examples))
        return with_noise(found)
