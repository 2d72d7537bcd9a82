"""The noise for a target epsilon."""

from __future__ import annotations

import math

from clifftop.accounting import NOISE_MULTIPLIER, EpsilonTarget, calibrate
from clifftop.compat.opacus.accountants.registry import create_accountant
from clifftop.events import DpEvent, Gaussian, NeighboringRelation, PoissonSampled, SelfComposed


def get_noise_multiplier(
    *,
    target_epsilon: float,
    target_delta: float,
    sample_rate: float,
    epochs: float | None = None,
    steps: int | None = None,
    accountant: str = "prv",
    epsilon_tolerance: float | None = None,
) -> float:
    """The least noise multiplier, to about 1e-6, whose certified epsilon is within the target.

    Args:
        target_epsilon: the most that the run may cost.
        target_delta: its delta.
        sample_rate: with which an example joins a batch.
        epochs: passes over the data, each of ``1 / sample_rate`` steps; all steps are rounded up to a whole
            number.
        steps: in place of epochs.
        accountant: any of Opacus' names; they compute the same.
        epsilon_tolerance: not needed; the result never costs more than the target.

    >>> round(get_noise_multiplier(target_epsilon=3.0, target_delta=1e-5, sample_rate=0.01, steps=10_000), 3)
    1.565
    """
    del epsilon_tolerance
    create_accountant(accountant)  # refuses a name that is none
    if (epochs is None) == (steps is None):
        raise ValueError(f"either epochs or steps must be given, found epochs={epochs} and steps={steps}")
    count = steps if steps is not None else steps_of(epochs or 0, sample_rate)
    return calibrated(
        target_epsilon=target_epsilon,
        target_delta=target_delta,
        sample_rate=sample_rate,
        steps=count,
        relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )


def calibrated(
    *,
    target_epsilon: float,
    target_delta: float,
    sample_rate: float,
    steps: int,
    relation: NeighboringRelation,
    spent: DpEvent | None = None,
) -> float:
    """The noise multiplier of ``steps`` steps whose cost, with what is spent already, meets the target."""
    return calibrate(
        lambda sigma: SelfComposed(PoissonSampled(sample_rate, Gaussian(sigma)), steps),
        over=NOISE_MULTIPLIER,
        target=EpsilonTarget(epsilon=target_epsilon, delta=target_delta, neighboring_relation=relation),
        spent=spent,
    )


def steps_of(epochs: float, sample_rate: float) -> int:
    """Steps of ``epochs`` passes, rounded up; a rate such as 1/93, which no float holds, loses none.

    >>> steps_of(1, 1 / 93), steps_of(3, 0.3)
    (93, 10)
    """
    count = epochs / sample_rate
    near = round(count)
    return near if abs(count - near) <= 1e-9 * max(count, 1.0) else math.ceil(count)
