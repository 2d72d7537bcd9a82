"""Per-example gradients behind a forward pass that the user's own code runs and differentiates.

The module is called as usual, on its own parameters. Its outputs go to the user cut off from the
graph; what the user's backward pass leaves at them is, example by example, the gradient of that
example's loss, and this is all that a step needs: the loss of example b is replaced by the inner
product of its outputs with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from clifftop.flow import Batch, DrawStream, GroupMap, Params, PerExampleGrads
from clifftop.gradients.base import (
    Arguments,
    Criterion,
    PerExampleLoss,
    arguments_of,
    constant_tensors,
    trainable_parameters,
)
from clifftop.gradients.graph.engine import GraphEngine, finish
from clifftop.gradients.graph.forward import forward_pass
from clifftop.gradients.graph.refusals import GraphUnsuited, Poisoned
from clifftop.gradients.instantiated import no_examples
from clifftop.gradients.randomness import Draw, draw_uniforms


def inner_products(output: Any, *grads: Tensor) -> Tensor:
    """For each example, its outputs times ``grads``, summed: ``(B,)``."""
    parts = [
        (x * g).flatten(1).sum(1) if x.dim() > 1 else x * g
        for x, g in zip(differentiable(output), grads, strict=True)
    ]
    return torch.stack(parts).sum(0)


def differentiable(output: Any) -> list[Tensor]:
    """The tensors of an output that a loss may depend on."""
    return [x for x in pytree.tree_leaves(output) if isinstance(x, Tensor) and x.is_floating_point()]


@final
@dataclass(frozen=True, kw_only=True)
class RecordedCall:
    """One forward pass of a module on its own parameters.

    Attributes:
        engine: turns the graph into gradients.
        module: the module, in the mode that it ran in.
        inputs: the call's inputs, examples first.
        arguments: how they were handed over.
        output: what the module gave, with its graph.
        draws: the stream that dropout drew from.
    """

    engine: GraphEngine
    module: nn.Module
    inputs: tuple[Tensor, ...]
    arguments: Arguments | None
    output: Any
    draws: DrawStream | None

    def gradients(self, output_grads: Sequence[Tensor], groups: GroupMap) -> PerExampleGrads:
        """Per-example gradients, given the gradient of each example's own loss at the outputs.

        Args:
            output_grads: one a tensor of `differentiable(output)`, examples first.
            groups: which parameters are clipped together.

        Raises:
            UnsupportedModule: examples influence each other, or no engine is exact for this module.
        """
        size = len(self.inputs[0])
        mask = torch.ones(1, size, dtype=torch.bool, device=self.inputs[0].device)
        batch = Batch(
            inputs=tuple(x[None] for x in self.inputs),
            targets=tuple(g.detach()[None] for g in output_grads),
            mask=mask,
        )
        params = {name: p[None] for name, p in trainable_parameters(self.module).items()}
        loss = _loss_of(self.module, inner_products, self.arguments)
        if size == 0:
            return no_examples(params, batch, groups)
        if size == 1:
            return self.engine(loss, params, batch, groups, self.draws)
        known = self.engine.study(loss, params, batch)
        live = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        try:
            if known.plan is not None:
                with torch.enable_grad():
                    losses = inner_products(self.output, *(g.detach() for g in output_grads))
                return finish(known.plan, losses, live, mask, params, groups, choices=known.choices)
        except (GraphUnsuited, Poisoned):
            pass
        return self.engine(loss, params, batch, groups, self.draws)


def record_call(
    engine: GraphEngine,
    module: nn.Module,
    inputs: Sequence[Tensor],
    *,
    arguments: Arguments | None = None,
    draws: DrawStream | None = None,
) -> RecordedCall:
    """Run ``module`` on ``inputs``, examples first, and keep what its per-example gradients need.

    Dropout draws from ``draws``, as in every engine. Buffers that the module writes are kept.
    """
    uniforms: list[Tensor] = []
    found: tuple[Draw, ...] = ()
    if len(inputs[0]):
        found = engine.dropouts(*_for_dropouts(module, inputs, arguments))
        uniforms = [u[0] for u in draw_uniforms(found, len(inputs[0]), draws)]
    args, kwargs = arguments_of(arguments, inputs)
    with forward_pass(module, found, uniforms):
        output = module(*args, **kwargs)
    return RecordedCall(
        engine=engine,
        module=module,
        inputs=tuple(x.detach() for x in inputs),
        arguments=arguments,
        output=output,
        draws=draws,
    )


def _loss_of(module: nn.Module, criterion: Criterion, arguments: Arguments | None) -> PerExampleLoss:
    constants = {name: value[None] for name, value in constant_tensors(module).items()}
    return PerExampleLoss(module=module, criterion=criterion, constants=constants, arguments=arguments)


def _for_dropouts(
    module: nn.Module, inputs: Sequence[Tensor], arguments: Arguments | None
) -> tuple[PerExampleLoss, Params, Batch]:
    batch = Batch(
        inputs=tuple(x[None] for x in inputs),
        targets=(),
        mask=torch.ones(1, len(inputs[0]), dtype=torch.bool, device=inputs[0].device),
    )
    params = {name: p[None] for name, p in trainable_parameters(module).items()}
    return _loss_of(module, _any_loss, arguments), params, batch


def _any_loss(output: Any) -> Tensor:
    x = differentiable(output)[0]
    return x.flatten(1).sum(1) if x.dim() > 1 else x
