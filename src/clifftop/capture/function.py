"""One private step as a function of tensors alone, and all that the function takes for granted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clifftop.flow import Batch, ClippedSum, DrawStream, Params, PerExampleGrads
from clifftop.gradients.base import PerExampleLoss, with_own_buffers
from clifftop.gradients.graph.engine import Known, finish
from clifftop.gradients.graph.forward import losses_of
from clifftop.gradients.randomness import draw_uniforms
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import Seen, Summed


@final
@dataclass(frozen=True, kw_only=True)
class StepFunction:
    """From parameters and a batch of one run to its clipped sum.

    Attributes:
        plan: whose clipping rule is applied.
        loss: the model and the criterion.
        params: trainable parameters, ``(1, ...)`` each.
        batch: with an example in every row.
        mask: ``(1, B)``, which rows count; None for all.
        state: the clipping rule's.
        diagnose: whether what clipping removed is wanted too.
        scale: the sum is multiplied by it.
        sums_only: whether nothing but the sum is wanted, and the rule's next state.
    """

    plan: PrivacyPlan
    loss: PerExampleLoss
    params: Params
    batch: Batch
    mask: Tensor | None
    state: Any
    diagnose: bool
    scale: float | None = None
    sums_only: bool = False

    def signature(self, decisive: object) -> object:
        """All that the function depends on besides its arguments; ``decisive`` is its module's part."""
        tensors = [*self.params.values(), *self.loss.constants.values()]
        tensors += [*self.batch.inputs, *self.batch.targets]
        return (
            decisive,
            self.loss.criterion,
            self.loss.arguments,
            tuple(self.params),
            tuple(self.loss.constants),
            tuple([(x.shape, x.stride(), x.dtype) for x in tensors]),
            self.batch.mask.device,
            self.plan.clipping.template(),
            self.mask is None,
            self.diagnose,
            self.scale,
            self.sums_only,
        )

    def arguments(self, known: Known, streams: DrawStream) -> list[Tensor]:
        """The tensors that the step is a function of."""
        uniforms = draw_uniforms(known.draws, self.batch.padded_size, streams)
        return [
            *(p[0] for p in self.params.values()),
            *(c[0] for c in self._own_constants().values()),
            *(x[0] for x in self.batch.inputs),
            *(y[0] for y in self.batch.targets),
            *(u[0] for u in uniforms),
            *([] if self.mask is None else [self.mask]),
            *tensors_of(self.state),
        ]

    def _own_constants(self) -> Params:
        # To look for buffers in a small module takes as long as to run it.
        return with_own_buffers(self.loss) if self.loss.constants else {}

    def __call__(self, known: Known, arguments: Sequence[Tensor]) -> list[Tensor]:
        """The step; `result` reads what it gives."""
        assert known.plan is not None
        rest = iter(arguments)

        def take(count: int) -> list[Tensor]:
            return [next(rest) for _ in range(count)]

        params = dict(zip(self.params, take(len(self.params)), strict=True))
        constants = dict(zip(self.loss.constants, take(len(self.loss.constants)), strict=True))
        inputs, targets = take(len(self.batch.inputs)), take(len(self.batch.targets))
        uniforms = take(len(known.draws))
        mask = torch.ones_like(self.batch.mask) if self.mask is None else next(rest)
        state = with_tensors(self.state, list(rest))
        live = {name: p.detach().requires_grad_() for name, p in params.items()}
        losses = losses_of(self.loss, live, constants, inputs, targets, known.draws, uniforms)
        rows = {name: p[None] for name, p in params.items()}
        groups = self.plan.clipping.groups(rows)
        with torch.no_grad(), _AllFinite():
            grads = finish(
                known.plan, losses, live, mask, rows, groups, choices=known.choices, assume_finite=True
            )
            scaled = grads if self.scale is None else _Scaled(grads, self.scale)
            clipped, weights, next_state = self.plan.clipping(scaled, mask, state)
            removed: Params = {}
            if self.diagnose:
                removed = scaled.weighted_sum(torch.where(mask[..., None], 1 - weights, 0))
            scale = clipped.norm_bound if clipped.noise_scale is None else clipped.noise_scale
            seen = [] if self.sums_only else [scale, grads.losses, grads.sq_norms(), weights]
            return [
                *(clipped.value[name][0] for name in rows),
                *(value[0] for value in removed.values()),
                *seen,
                # Infinite or NaN if anything is, since squares and infinities of one sign do not cancel.
                grads.total() + losses.detach().sum(),
                *([] if next_state is state else tensors_of(next_state)),
            ]

    def result(self, found: Sequence[Tensor]) -> Summed | None:
        """What the step gave; None where a number is not finite, and rows must be looked at."""
        rest = iter(found)
        value = {name: next(rest)[None] for name in self.params}
        removed = {name: next(rest)[None] for name in self.params} if self.diagnose else None
        scale, losses, sq_norms, weights, total = (next(rest) for _ in range(5))
        if not math.isfinite(total.item()):
            return None
        bounded = self.plan.clipping.bounds_examples
        return Summed(
            clipped=ClippedSum(
                value=value,
                norm_bound=scale if bounded else torch.full_like(scale, math.inf),
                noise_scale=None if bounded else scale,
            ),
            state=with_tensors(self.state, list(rest)),  # none: the rule keeps its state
            seen=Seen(losses=losses, sq_norms=sq_norms, weights=weights, removed=removed),
        )


@final
@dataclass(frozen=True)
class _Scaled:
    """Gradients whose weighted sums come out multiplied by ``scale``; norms are their own."""

    grads: PerExampleGrads
    scale: float

    @property
    def losses(self) -> Tensor:
        """``(R, B)``."""
        return self.grads.losses

    def sq_norms(self) -> Tensor:
        """``(R, B, G)``."""
        return self.grads.sq_norms()

    def weighted_sum(self, weights: Tensor) -> Params:
        """The sum times ``scale``."""
        return self.grads.weighted_sum(weights * self.scale)


class _AllFinite(TorchFunctionMode):
    """Every tensor counts as finite: a step for which that is false is thrown away and done again."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        if func in (torch.isfinite, Tensor.isfinite):
            return torch.ones_like(args[0], dtype=torch.bool)
        return func(*args, **dict(kwargs or {}))


def tensors_of(state: Any) -> list[Tensor]:
    """The tensors among a state's fields."""
    return (
        [v for v in vars(state).values() if isinstance(v, Tensor)] if dataclasses.is_dataclass(state) else []
    )


def with_tensors(state: Any, tensors: Sequence[Tensor]) -> Any:
    """``state`` with these in place of its own tensors."""
    names = [name for name, v in vars(state).items() if isinstance(v, Tensor)] if tensors else []
    return replace(state, **dict(zip(names, tensors, strict=True))) if names else state
