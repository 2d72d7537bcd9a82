"""What an accountant is asked about: Poisson-sampled Gaussian releases, usual and extreme."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.accounting.base import require_delta
from clifftop.events import DpEvent, Gaussian, PoissonSampled, SelfComposed
from clifftop.events.base import is_number

NOISE_MULTIPLIERS = (0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 20.0)
SAMPLING_PROBS = (0.0044, 0.0149, 0.16, 1.0)
"""Rounding the first two to one, two or three digits, or to one over a whole number, lowers one of them."""
STEPS = (1, 2, 140, 10_000)
"""One and two releases show a count that is one short."""
DELTAS = (1e-9, 1e-5)
HARD = 1e4
"""Beyond so many steps over the squared noise, numerical accountants take long: they are asked last."""


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """``steps`` releases, each of the noisy sum over a batch that holds each example by a coin of its own.

    Attributes:
        sampling_prob: of each coin, in (0, 1].
        noise_multiplier: standard deviation of the noise over the clip norm, above 0.
        steps: how many releases, at least 1.
        delta: at which epsilon is meant, in (0, 1).

    >>> print(Setting(sampling_prob=0.16, noise_multiplier=1.0, steps=140, delta=1e-5))
    sampling_prob=0.16 noise_multiplier=1 steps=140 delta=1e-05
    """

    sampling_prob: float
    noise_multiplier: float
    steps: int
    delta: float

    def __post_init__(self) -> None:
        require_delta(self.delta)
        event = self.event
        if not (is_number(self.sampling_prob) and self.sampling_prob > 0 and self.steps > 0):
            raise ValueError(
                f"a setting must release something, found sampling_prob={self.sampling_prob!r} and "
                f"steps={self.steps!r} for {event}; take a probability in (0, 1] and at least one step"
            )

    @property
    def event(self) -> DpEvent:
        """The releases as an event."""
        return SelfComposed(PoissonSampled(self.sampling_prob, Gaussian(self.noise_multiplier)), self.steps)

    def __str__(self) -> str:
        return (
            f"sampling_prob={self.sampling_prob:g} noise_multiplier={self.noise_multiplier:g} "
            f"steps={self.steps} delta={self.delta:g}"
        )


def usual_settings() -> tuple[Setting, ...]:
    """The whole grid, in a fixed order that is spread over it: a part of it covers it thinly, `HARD` last.

    >>> len(usual_settings())
    256
    """
    whole = [
        Setting(sampling_prob=q, noise_multiplier=sigma, steps=steps, delta=delta)
        for q, sigma, steps, delta in itertools.product(SAMPLING_PROBS, NOISE_MULTIPLIERS, STEPS, DELTAS)
    ]
    mixed = [whole[place] for place in np.random.default_rng(0).permutation(len(whole))]
    return tuple(sorted(mixed, key=lambda one: one.steps / one.noise_multiplier**2 > HARD))


def extreme_settings() -> tuple[Setting, ...]:
    """Settings at which formulas overflow, cancel, or run out of grid, the hardest last."""
    values = (
        (0.01, 1000.0, 10_000, 0.1),
        (0.01, 1000.0, 10_000, 1e-300),
        (1e-6, 100.0, 1, 1e-12),
        (1e-4, 1.0, 1_000_000, 1e-8),
        (0.99, 0.7, 1_000_000, 1e-5),
        (0.16, 0.01, 140, 1e-5),
        (1.0, 0.001, 1, 1e-5),
    )
    return tuple(
        Setting(sampling_prob=q, noise_multiplier=sigma, steps=steps, delta=delta)
        for q, sigma, steps, delta in values
    )


@final
@dataclass(frozen=True, kw_only=True)
class Target:
    """A question to a calibration: how much noise keeps ``epsilon``."""

    epsilon: float
    sampling_prob: float
    steps: int
    delta: float

    def with_noise(self, noise_multiplier: float) -> Setting:
        """The setting that an answer makes."""
        return Setting(
            sampling_prob=self.sampling_prob,
            noise_multiplier=noise_multiplier,
            steps=self.steps,
            delta=self.delta,
        )

    def __str__(self) -> str:
        return (
            f"target_epsilon={self.epsilon:g} sampling_prob={self.sampling_prob:g} "
            f"steps={self.steps} delta={self.delta:g}"
        )


def usual_targets() -> tuple[Target, ...]:
    """Targets that trainings set, strict and loose."""
    rates = ((0.0149, 2000), (0.16, 140), (1.0, 50))
    return tuple(
        Target(epsilon=epsilon, sampling_prob=q, steps=steps, delta=1e-5)
        for epsilon, (q, steps) in itertools.product((0.3, 1.0, 3.0, 8.0, 50.0), rates)
    )


@final
@dataclass(frozen=True, kw_only=True)
class Moment:
    """A question to a Renyi accountant: the divergence of one release at an order."""

    order: float
    sampling_prob: float
    noise_multiplier: float

    @property
    def event(self) -> DpEvent:
        """The release."""
        return PoissonSampled(self.sampling_prob, Gaussian(self.noise_multiplier))

    def __str__(self) -> str:
        return (
            f"order={self.order:g} sampling_prob={self.sampling_prob:g} "
            f"noise_multiplier={self.noise_multiplier:g}"
        )


def moments(orders: tuple[float, ...]) -> tuple[Moment, ...]:
    """One release of every noise and rate of the grid at each of ``orders``, low orders first."""
    return tuple(
        Moment(order=order, sampling_prob=q, noise_multiplier=sigma)
        for order, q, sigma in itertools.product(orders, SAMPLING_PROBS, NOISE_MULTIPLIERS)
    )
