"""What `clifftop epsilon` and `clifftop calibrate` take of a training run: how its batches were made."""

from __future__ import annotations

from clifftop.events import (
    DpEvent,
    FixedOrder,
    Gaussian,
    NeighboringRelation,
    PoissonSampled,
    SelfComposed,
)


def training_event(
    noise_multiplier: float, *, sampling_prob: float | None, steps: int | None, fixed_order: int | None
) -> DpEvent:
    """The event of DP-SGD with Gaussian noise.

    Raises:
        ValueError: neither a sampling probability with steps alone, nor a fixed order alone.
    """
    release = Gaussian(noise_multiplier)
    if fixed_order is not None and sampling_prob is None and steps is None:
        return FixedOrder(release, fixed_order)
    if fixed_order is None and sampling_prob is not None and steps is not None:
        return SelfComposed(PoissonSampled(sampling_prob, release), steps)
    raise ValueError(
        "epsilon needs either --sampling-prob and --steps (Poisson sampling) or --fixed-order alone, "
        f"found --sampling-prob={sampling_prob}, --steps={steps}, --fixed-order={fixed_order}; "
        "say how the batches were made"
    )


def relation_for(given: NeighboringRelation | None, *, fixed_order: int | None) -> NeighboringRelation:
    """The relation that was asked for, or the one that fits how the batches were made."""
    if given is not None:
        return given
    poisson, ordered = NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.ZERO_OUT
    return poisson if fixed_order is None else ordered
