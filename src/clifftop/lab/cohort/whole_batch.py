"""Ordinary training of several runs: one backward pass a run and step, with no example seen apart.

The models are real ones, each with buffers of its own, so that layers that mix a batch work as they do in any
training loop. Their parameters are rows of the cohort's, which the cohort's optimiser updates in place.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import final

import torch
from torch import Tensor, nn

from clifftop.flow import Batch, NoisySum, Params
from clifftop.gradients import Criterion
from clifftop.gradients.base import constant_tensors, stack_runs
from clifftop.noise import RunStreams
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import LAYER_FIELDS, StepRecord, layers_of, norm_of

_BITS = 24  # of a uniform number in float32


@final
class WholeBatches:
    """The models of R runs, and their gradients on whole batches.

    Args:
        models: one a run; copied.
        params: their trained parameters, ``(R, ...)``, which the copies read from then on.
        criterion: per-example loss.
    """

    def __init__(self, models: Sequence[nn.Module], params: Params, criterion: Criterion) -> None:
        self._models = [copy.deepcopy(model) for model in models]
        self._criterion = criterion
        for r, model in enumerate(self._models):
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.data = params[name][r]

    def constants(self) -> Params:
        """Frozen parameters and buffers as they are now, ``(R, ...)`` each."""
        return stack_runs(map(constant_tensors, self._models))

    def load_constants(self, constants: Mapping[str, Tensor], rows: Sequence[int]) -> None:
        """Go on from rows of `constants`."""
        for model, row in zip(self._models, rows, strict=True):
            for name, tensor in constant_tensors(model).items():
                tensor.copy_(constants[name][row])

    def step(
        self, plan: PrivacyPlan, batch: Batch, streams: RunStreams, step: int, *, per_layer: bool
    ) -> tuple[NoisySum, StepRecord]:
        """Each run's summed gradient over the plan's batch size, and what is known of the step.

        A batch of one row which the model refuses (BatchNorm has nothing to compare it with) adds nothing.
        """
        seeds = _seeds(streams, step)
        found = [self._one(r, batch, int(seed)) for r, seed in enumerate(seeds)]
        count = batch.mask.sum(1)
        size = torch.full_like(found[0][0], plan.expected_batch_size or 0.0).expand(len(found)).clone()
        if plan.expected_batch_size is None:
            size = count.clamp_min(1).to(size)
        value = {
            name: torch.stack([grads[name] / size[r] for r, (_, _, grads) in enumerate(found)])
            for name in found[0][2]
        }
        unknown = torch.full_like(size, torch.nan)
        known = {
            "loss": torch.stack([total for total, _, _ in found]) / count,
            "signal_norm": norm_of(value, like=size),
            "noise_norm": torch.zeros_like(size),
            "num_nonfinite": torch.stack([bad for _, bad, _ in found]),
        }
        numbers = {f.name: known.get(f.name, unknown) for f in fields(StepRecord) if f.name != "layers"}
        record = StepRecord(**numbers, layers=_by_layer(value, unknown) if per_layer else {})
        return NoisySum(value=value, noise_std=torch.zeros_like(size)), record

    def _one(self, r: int, batch: Batch, seed: int) -> tuple[Tensor, Tensor, Params]:
        """Run r's summed loss, how many losses are not finite, and its summed gradient."""
        model, rows = self._models[r], batch.mask[r]
        live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        nothing = {name: torch.zeros_like(p, requires_grad=False) for name, p in live.items()}
        zero = next(iter(live.values())).detach().new_zeros(())
        count = int(rows.sum())
        if count == 0:
            return zero, rows.sum(), nothing
        devices = [rows.device] if rows.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            torch.manual_seed(seed)
            try:
                output = model(*(x[r][rows] for x in batch.inputs))
            except ValueError:
                if count > 1:
                    raise
                return zero, rows.new_zeros((), dtype=torch.int64), nothing
            losses = self._criterion(output, *(y[r][rows] for y in batch.targets))
            grads = torch.autograd.grad(losses.sum(), list(live.values()), allow_unused=True)
        value = {
            name: nothing[name] if grad is None else grad for name, grad in zip(live, grads, strict=True)
        }
        losses = losses.detach()
        return losses.sum(), (~torch.isfinite(losses)).sum(), value


def _by_layer(value: Params, unknown: Tensor) -> Params:
    """What is known layer by layer: of examples nothing, since none is seen apart."""
    found: Params = {}
    for layer, names in layers_of(value).items():
        found |= {f"{name}:{layer}": unknown for name in LAYER_FIELDS}
        found[f"signal_norm:{layer}"] = norm_of({name: value[name] for name in names}, like=unknown)
        found[f"noise_norm:{layer}"] = torch.zeros_like(unknown)
    return found


def _seeds(streams: RunStreams, step: int) -> list[int]:
    """A seed for each run's own draws of this step, such as dropout's, from its streams."""
    drawn = (streams.uniforms(step, "whole-batch", (2,)).double() * 2**_BITS).long()
    return streams.spread((drawn[:, 0] << _BITS) + drawn[:, 1]).tolist()
