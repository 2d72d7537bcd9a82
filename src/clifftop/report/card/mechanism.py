"""What ran, and what is proven of it once its batches and its noise have been looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.accounting import Bound
from clifftop.events import DpEvent
from clifftop.plan import PrivacyPlan
from clifftop.report.card.base import NotStated
from clifftop.report.card.guarantee import Guarantee, guarantee_of, refused
from clifftop.report.card.noise_seen import NoiseSeen, look_at_noise
from clifftop.report.card.participation import Participation, UnknownSampler, look_at_batches
from clifftop.sampling import FixedOrder, StepGenerators


@final
@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """What one training did.

    Attributes:
        plan: sampler, clipping, noise, relation.
        steps: taken.
        delta: at which epsilon is stated.
        num_examples: training rows; None where that is not known.
        rng: drew the batches.
        optimizer: in a few words; None where that is not known.
        num_parameters: trained ones; None where that is not known.
        noise_norms: recorded at each step; None where that was not.
        recorded: the ends of epsilon as they were recorded when the run was made.
    """

    plan: PrivacyPlan
    steps: int
    delta: float
    num_examples: int | None
    rng: StepGenerators
    optimizer: str | None = None
    num_parameters: int | None = None
    noise_norms: np.ndarray | None = None
    recorded: tuple[float, float] | None = None

    @property
    def event(self) -> DpEvent:
        """What was released. Errors: ValueError where nothing is proven."""
        if self.num_examples is None and isinstance(self.plan.sampler, FixedOrder):
            raise ValueError(
                "the number of training rows is not known, and with it how often a row took part in a fixed "
                "order"
            )
        return self.plan.event(steps=self.steps, num_examples=self.num_examples or 1)

    @property
    def noise_std(self) -> float | None:
        """Of each coordinate of the noise on the sum; None for parts that have no such number."""
        sigma = getattr(self.plan.noise, "noise_multiplier", None)
        clip_norm = getattr(self.plan.clipping, "clip_norm", None)
        return None if sigma is None or clip_norm is None else float(sigma) * float(clip_norm)


@final
@dataclass(frozen=True, kw_only=True)
class Examined:
    """A mechanism with what was seen and what is proven of it.

    Attributes:
        mechanism: what ran.
        participation: its batches; None where they could not be drawn again.
        noise: its noise; None where it was not recorded.
        guarantee: proven, if batches and noise are what was accounted.
        not_stated: all that is refused.
    """

    mechanism: Mechanism
    participation: Participation | None
    noise: NoiseSeen | None
    guarantee: Guarantee
    not_stated: tuple[NotStated, ...]

    @property
    def epsilon(self) -> Bound | None:
        """Of this training alone; None where it is not stated."""
        return self.guarantee.epsilon


def examine(mechanism: Mechanism) -> Examined:
    """Look at a training's batches and noise, and prove what can be proven."""
    unsaid: list[NotStated] = []
    participation = _participation(mechanism, unsaid)
    noise = _noise(mechanism, unsaid)
    guarantee = _guarantee(mechanism, tuple(_faults(participation, noise)))
    return Examined(
        mechanism=mechanism,
        participation=participation,
        noise=noise,
        guarantee=guarantee,
        not_stated=(*guarantee.not_stated, *unsaid),
    )


def _participation(mechanism: Mechanism, unsaid: list[NotStated]) -> Participation | None:
    if mechanism.num_examples is None:
        why = "the number of training rows was not recorded; run the same sweep on the folder again"
        unsaid.append(NotStated(what="delta against the number of rows", why=why))
        unsaid.append(NotStated(what="how often rows took part", why=why))
        return None
    try:
        return look_at_batches(
            mechanism.plan.sampler,
            steps=mechanism.steps,
            num_examples=mechanism.num_examples,
            rng=mechanism.rng,
        )
    except UnknownSampler as error:
        unsaid.append(NotStated(what="how often rows took part", why=str(error)))
        return None


def _noise(mechanism: Mechanism, unsaid: list[NotStated]) -> NoiseSeen | None:
    std, norms, size = mechanism.noise_std, mechanism.noise_norms, mechanism.plan.expected_batch_size
    count = mechanism.num_parameters
    if norms is None or count is None or size is None or not std or len(norms) != mechanism.steps:
        known = (
            ("its norm at every step was not recorded", norms is None or len(norms) != mechanism.steps),
            ("the number of trained parameters was not recorded", count is None),
            ("sums were divided by the size of each batch", size is None),
        )
        why = " and ".join(said for said, is_so in known if is_so) or "the plan's noise has no one scale"
        unsaid.append(NotStated(what="whether the noise had the scale that was accounted", why=why))
        return None
    return look_at_noise(norms, size, noise_std=std, num_parameters=count)


def _faults(participation: Participation | None, noise: NoiseSeen | None) -> Iterator[str]:
    if participation is not None and not participation.holds:
        yield (
            f"the run's batches are not what was accounted: {'; '.join(participation.faults)}; find out what "
            "drew them, and train again"
        )
    if noise is not None and not noise.holds:
        yield (
            f"the run's noise is not what was accounted: its scale is {noise.relative_scale:.6g} times that; "
            "find out what drew it, and train again"
        )


def _guarantee(mechanism: Mechanism, faults: tuple[str, ...]) -> Guarantee:
    if faults:
        return refused(mechanism.delta, *faults)
    try:
        event = mechanism.event
    except ValueError as error:
        return refused(mechanism.delta, str(error))
    relation = mechanism.plan.neighboring_relation
    found = guarantee_of(event, delta=mechanism.delta, neighboring_relation=relation)
    if found.epsilon is not None and mechanism.recorded is not None:
        low, high = mechanism.recorded
        if high < found.epsilon.lower or low > found.epsilon.upper:
            return refused(
                mechanism.delta,
                f"the folder recorded epsilon between {low:.6g} and {high:.6g}, and this version proves "
                f"{found.epsilon.lower:.6g} to {found.epsilon.upper:.6g}; trust neither, and report it",
            )
    return found
