"""The one private step: per-example gradients, clipped, summed, noised, scaled. Pure."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clifftop.flow import Batch, ClippedSum, NoisySum, Params
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient.record import StepRecord, compared, record_of
from clifftop.private_gradient.summing import PrivacyState, Streams, Summing, clipped_sum

Reduce = Callable[[ClippedSum], ClippedSum]
"""Adds up the clipped sums of processes that share a batch; may work in place."""

Watch = Callable[[Tensor, Tensor], None]
"""Sees a step's mask ``(R, B)`` and weights ``(R, B, G)``; a real example of weight 0 was not finite."""


@torch.no_grad()
def private_gradient(
    *,
    plan: PrivacyPlan,
    engine: GradientEngine,
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    state: PrivacyState,
    streams: Streams,
    diagnose: bool = True,
    per_layer: bool = False,
    microbatch_size: int | None = None,
    reduce: Reduce | None = None,
    realised_size: int | None = None,
    watch: Watch | None = None,
    summing: Summing | None = None,
) -> tuple[NoisySum, PrivacyState, StepRecord | None]:
    """One private gradient for each of R runs.

    An example whose loss or gradient norm is NaN or infinite counts as zero. Nothing here looks at the
    values of tensors, so the step can be traced as one graph if the engine can.

    Args:
        plan: the parts that the runs share; the runs' own numbers are in ``state``.
        engine: gives the per-example gradients.
        loss: the model and the criterion.
        params: trainable parameters, ``(R, ...)`` each.
        batch: one padded batch a run.
        state: from `initial_state`, or the last step.
        streams: this step's random draws.
        diagnose: whether to measure what clipping and noise did, at about a fifth of a step's cost.
        per_layer: whether to measure it layer by layer, too.
        microbatch_size: how many examples go through the engine at once; None for all. Speed and peak
            memory only: the clipped sums are added before any noise, and the result is the same but
            for the order in which floats are added.
        reduce: adds up the clipped sums of processes that hold parts of one batch; noise comes after.
        realised_size: with ``reduce``, the size of the batch over all processes; it matters only to a
            plan without ``expected_batch_size``. By default the examples in ``batch``.
        watch: sees the mask and the weights.
        summing: makes the clipped sum; `clipped_sum` unless given (`clifftop.capture` has a quicker one).

    Returns:
        The noisy sum over the batch size, the next state, and the record (None unless diagnosed). With
        ``reduce``, the record's examples are this process's own.

    Raises:
        ValueError: ``microbatch_size`` is not a whole number >= 1.
    """
    summed = (summing or clipped_sum)(
        plan, engine, loss, params, batch, state, streams, diagnose=diagnose, microbatch_size=microbatch_size
    )
    clipped, seen = summed.clipped, summed.seen
    if watch is not None:
        watch(batch.mask, seen.weights)
    # Before `reduce`, which may work in place: what was removed is this process's own.
    sums = None
    if diagnose and seen.removed is not None:
        sums = compared(clipped.value, seen.removed, per_layer=per_layer)
    if reduce is not None:
        clipped = reduce(clipped)
    noisy, noise_state = plan.noise(clipped, state.noise, streams)
    size = _divisor(plan, batch, noisy.noise_std, realised_size)
    mean = NoisySum(
        value={name: v / _column(size, v) for name, v in noisy.value.items()},
        noise_std=noisy.noise_std / size,
    )
    record = None
    if sums is not None:
        sums = sums.with_noise(clipped.value, noisy.value, is_reduced=reduce is not None)
        record = record_of(seen, batch.mask, sums, size)
    return mean, PrivacyState(clipping=summed.state, noise=noise_state), record


def initial_state(plans: list[PrivacyPlan], device_of: Tensor) -> PrivacyState:
    """The state before the first step of runs with these plans, which must share their kinds of parts.

    Raises:
        ValueError: a plan with noise has nothing finite for the noise to be in proportion to.
    """
    first = plans[0]
    clipping = [plan.clipping.init(device_of=device_of) for plan in plans]
    for plan, one in zip(plans, clipping, strict=True):
        bound = plan.clipping.noise_scale_of(one)
        silent = getattr(plan.noise, "noise_multiplier", None) == 0
        if not silent and not bool(torch.isfinite(bound).all()):
            raise ValueError(
                f"noise needs a finite norm bound, found norm_bound={bound.tolist()} with {plan.noise}; "
                "set a clip norm, or noise_multiplier=0 for a run without privacy"
            )
    return PrivacyState(
        clipping=first.clipping.stack(clipping),
        noise=first.noise.stack(plan.noise.init(device_of=device_of) for plan in plans),
    )


def _divisor(plan: PrivacyPlan, batch: Batch, like: Tensor, realised_size: int | None) -> Tensor:
    """What the sum is divided by, ``(R,)``; the realised size counts at least one example."""
    if plan.expected_batch_size is not None:
        return torch.full_like(like, plan.expected_batch_size)
    if realised_size is not None:
        return torch.full_like(like, max(1, realised_size))
    return batch.mask.sum(1).clamp_min(1).to(like)


def _column(per_run: Tensor, like: Tensor) -> Tensor:
    return per_run.view(-1, *(1,) * (like.dim() - 1))
