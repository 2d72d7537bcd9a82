"""The one private step: per-example gradients, clipped, summed, noised, scaled. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from clifftop.flow import Batch, DrawStream, NoisySum, Params, PerExampleGrads
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.noise import NoiseStream
from clifftop.plan import PrivacyPlan


class Streams(NoiseStream, DrawStream, Protocol):
    """The random draws of one step: normals for the noise, uniforms for the model."""


@dataclass(frozen=True, kw_only=True)
class PrivacyState:
    """What the clipping rule and the noise mechanism carry from step to step, one row a run."""

    clipping: Any
    noise: Any


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a step looked like, one number a run; not private, and part of no release.

    Attributes:
        loss: mean loss over the batch's examples, ``(R,)``; NaN for an empty batch.
        fraction_clipped: share of examples whose gradient was scaled down.
        norm_q10: 10% quantile of the gradients' norms.
        norm_median: their median.
        norm_q90: their 90% quantile.
        clipping_bias: L2 norm of (clipped sum - sum), on the scale of the mean gradient.
        noise_norm: L2 norm of the noise, on the same scale.
    """

    loss: Tensor
    fraction_clipped: Tensor
    norm_q10: Tensor
    norm_median: Tensor
    norm_q90: Tensor
    clipping_bias: Tensor
    noise_norm: Tensor


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
) -> tuple[NoisySum, PrivacyState, StepRecord | None]:
    """One private gradient for each of R runs.

    Args:
        plan: the parts that the runs share; the runs' own numbers are in ``state``.
        engine: gives the per-example gradients.
        loss: the model and the criterion.
        params: trainable parameters, ``(R, ...)`` each.
        batch: one padded batch a run.
        state: from `initial_state`, or the last step.
        streams: this step's random draws.
        diagnose: whether to measure what clipping and noise did, at about a fifth of a step's cost.

    Returns:
        The noisy sum over the batch size, the next state, and the record (None unless diagnosed).
    """
    groups = plan.clipping.groups(params)
    grads = engine(loss, params, batch, groups, streams)
    clipped, weights, clipping_state = plan.clipping(grads, batch.mask, state.clipping)
    noisy, noise_state = plan.noise(clipped, state.noise, streams)
    size = _divisor(plan, batch, noisy.noise_std)
    mean = NoisySum(
        value={name: v / _column(size, v) for name, v in noisy.value.items()},
        noise_std=noisy.noise_std / size,
    )
    record = None
    if diagnose:
        noise = {name: noisy.value[name] - clipped.value[name] for name in noisy.value}
        record = _record(grads, weights, batch.mask, noise, size)
    return mean, PrivacyState(clipping=clipping_state, noise=noise_state), record


def initial_state(plans: list[PrivacyPlan], device_of: Tensor) -> PrivacyState:
    """The state before the first step of runs with these plans, which must share their kinds of parts."""
    first = plans[0]
    return PrivacyState(
        clipping=first.clipping.stack(plan.clipping.init(device_of=device_of) for plan in plans),
        noise=first.noise.stack(plan.noise.init(device_of=device_of) for plan in plans),
    )


def _divisor(plan: PrivacyPlan, batch: Batch, like: Tensor) -> Tensor:
    """What the sum is divided by, ``(R,)``; the realised size counts at least one example."""
    if plan.expected_batch_size is not None:
        return torch.full_like(like, plan.expected_batch_size)
    return batch.mask.sum(1).clamp_min(1).to(like)


def _record(grads: PerExampleGrads, weights: Tensor, mask: Tensor, noise: Params, size: Tensor) -> StepRecord:
    count = mask.sum(1)
    norms = grads.sq_norms().sum(-1).sqrt()
    ordered = norms.masked_fill(~mask, torch.inf).sort(dim=1).values
    # Lower quantile: the element at floor(q (n - 1)); an empty batch has none.
    places = (torch.tensor([0.1, 0.5, 0.9], device=mask.device) * (count[:, None] - 1).clamp_min(0)).long()
    empty = count == 0
    quantiles = ordered.gather(1, places).masked_fill(empty[:, None], torch.nan)
    clipped = ((weights < 1).any(-1) & mask).sum(1)
    usable = (mask & torch.isfinite(norms))[..., None]
    removed = grads.weighted_sum(torch.where(usable, 1 - weights, 0))
    return StepRecord(
        loss=torch.where(mask, grads.losses, 0).sum(1) / count,
        fraction_clipped=clipped / count,
        norm_q10=quantiles[:, 0],
        norm_median=quantiles[:, 1],
        norm_q90=quantiles[:, 2],
        clipping_bias=_norm(removed) / size,
        noise_norm=_norm(noise) / size,
    )


def _norm(values: Params) -> Tensor:
    parts = [torch.linalg.vector_norm(value.flatten(1), dim=1) for value in values.values()]
    return torch.linalg.vector_norm(torch.stack(parts), dim=0)


def _column(per_run: Tensor, like: Tensor) -> Tensor:
    return per_run.view(-1, *(1,) * (like.dim() - 1))
