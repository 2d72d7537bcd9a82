"""What an event releases, in the numbers that the accountants for Gaussian noise need."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from clifftop.accounting.base import Bound, UnsupportedEvent, flatten
from clifftop.accounting.losses import LossPair, add_one, remove_one, replace_one
from clifftop.accounting.moments import Composition
from clifftop.events import DpEvent, Gaussian, NeighboringRelation, NonPrivate, PoissonSampled

KNOWN = (
    "known are Gaussian, PoissonSampled(Gaussian), FixedOrder(Gaussian), NonPrivate, NoOp and compositions"
)


@dataclass(frozen=True, kw_only=True)
class SampledGaussian:
    """``count`` Poisson-sampled Gaussian releases with 0 < sampling_prob < 1 and noise_multiplier > 0."""

    sampling_prob: float
    noise_multiplier: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """A composition of Gaussian releases, sampled or not.

    Attributes:
        neighboring_relation: the relation that sets the sensitivity and the dominating pairs.
        gaussian_mu_sq: the sum of ``(sensitivity / sigma)^2`` over unsampled releases, good to 6 roundings.
        sampled: the sampled releases.
        log_hidden: the log probability that no release without noise took the example: 0 if there is
            none such, ``-inf`` if one is not sampled.
    """

    neighboring_relation: NeighboringRelation
    gaussian_mu_sq: float
    sampled: tuple[SampledGaussian, ...]
    log_hidden: float

    @property
    def revealing(self) -> float:
        """The probability that the example is released without noise."""
        return -math.expm1(self.log_hidden)

    @property
    def is_one_step(self) -> bool:
        """Whether one sampled release is all there is."""
        return [item.count for item in self.sampled] == [1] and self.gaussian_mu_sq == 0 == self.log_hidden

    def directions(self) -> tuple[Composition, ...]:
        """The compositions whose larger delta is the event's: P and Q are never mixed between steps."""
        return tuple(
            Composition(
                steps=tuple(
                    (pair(item.sampling_prob, item.noise_multiplier), item.count) for item in self.sampled
                ),
                gaussian_mu_sq=self.gaussian_mu_sq,
            )
            for pair in _pairs(self.neighboring_relation)
        )

    def unamplified_mu_sq(self) -> float:
        """``mu^2`` if every sampled release were not sampled, which by joint convexity bounds it above."""
        reach = sensitivity(self.neighboring_relation)
        terms = [_mu_sq(reach, item.noise_multiplier, item.count) for item in self.sampled]
        return math.fsum([self.gaussian_mu_sq, *terms])

    def epsilon_if_revealing(self, delta: float, method: str) -> Bound | None:
        """The bound on epsilon that releases without noise decide, None if there is none such.

        The example shows with probability `revealing`, and then whatever epsilon: above delta epsilon is
        infinite. Below it, and with nothing else released, both directions give ``delta(eps) <= revealing``
        at once, so epsilon is 0. With more released we give no finite bound.
        """
        if self.log_hidden == 0:
            return None
        if self.revealing > delta * (1.0 + 1e-12):
            return Bound(lower=math.inf, estimate=math.inf, upper=math.inf, method=method)
        if self._alone and self.revealing < delta * (1.0 - 1e-12):
            return Bound(lower=0.0, estimate=0.0, upper=0.0, method=method)
        return Bound(lower=0.0, estimate=math.inf, upper=math.inf, method=method)

    def delta_if_revealing(self, method: str) -> Bound | None:
        """The bound on delta that releases without noise decide, None if there is none such."""
        if self.log_hidden == 0:
            return None
        lower, upper = self.revealing * (1.0 - 1e-12), min(1.0, self.revealing * (1.0 + 1e-12))
        if self.log_hidden == -math.inf:
            lower = upper = 1.0
        if not self._alone:
            upper = 1.0
        return Bound(lower=lower, estimate=upper, upper=upper, method=method)

    @property
    def _alone(self) -> bool:
        return not self.sampled and self.gaussian_mu_sq == 0


def take_inventory(
    event: DpEvent, *, accountant: str, neighboring_relation: NeighboringRelation
) -> Inventory:
    """The inventory of ``event``. Errors: `UnsupportedEvent` naming the first part that is not known."""
    releases = flatten(event, accountant=accountant, neighboring_relation=neighboring_relation)
    reach = sensitivity(neighboring_relation)
    mu_sqs: list[float] = []
    sampled: list[SampledGaussian] = []
    log_hidden = 0.0
    for mechanism, count in releases.mechanisms:
        match mechanism:
            case Gaussian(noise_multiplier=sigma):
                mu_sqs.append(_mu_sq(reach, sigma, count))
            case PoissonSampled(sampling_prob=q, event=Gaussian(noise_multiplier=sigma)):
                sampled.append(SampledGaussian(sampling_prob=q, noise_multiplier=sigma, count=count))
            case PoissonSampled(sampling_prob=q, event=NonPrivate()):
                log_hidden += count * math.log1p(-q)
            case NonPrivate():
                log_hidden = -math.inf
            case _:
                raise UnsupportedEvent(
                    event=mechanism,
                    accountant=accountant,
                    neighboring_relation=neighboring_relation,
                    remedy=KNOWN,
                )
    return Inventory(
        neighboring_relation=neighboring_relation,
        gaussian_mu_sq=math.fsum(mu_sqs),
        sampled=tuple(sampled),
        log_hidden=log_hidden,
    )


def sensitivity(neighboring_relation: NeighboringRelation) -> float:
    """How far one example moves a sum of vectors of norm at most 1: 2 if it is replaced, else 1."""
    return 2.0 if neighboring_relation is NeighboringRelation.REPLACE_ONE else 1.0


def _pairs(
    neighboring_relation: NeighboringRelation,
) -> tuple[Callable[[float, float], LossPair], ...]:
    if neighboring_relation is NeighboringRelation.REPLACE_ONE:
        return (replace_one,)
    return remove_one, add_one


def _mu_sq(reach: float, sigma: float, count: int) -> float:
    mu = reach / sigma
    return mu * mu * count
