"""One run's forward pass, as the graph engine needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clifftop.gradients.base import PerExampleLoss
from clifftop.gradients.randomness import Draw, DropoutFromUniforms


def losses_of(
    loss: PerExampleLoss,
    params: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    draws: Sequence[Draw],
    uniforms: Sequence[Tensor],
) -> Tensor:
    """Losses ``(B,)``, with a graph; ``uniforms`` are ``(B, *rest)`` for each dropout."""
    with forward_pass(loss.module, draws, uniforms):
        return loss(params, constants, inputs, targets)


@contextmanager
def forward_pass(module: nn.Module, draws: Sequence[Draw], uniforms: Sequence[Tensor]) -> Iterator[None]:
    """Where a forward pass of ``module`` records what the engine reads, and drops out by ``uniforms``."""
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_recurrence_in_operations(module))
        if draws:
            masks = [u.movedim(0, draw.axis) for u, draw in zip(uniforms, draws, strict=True)]
            stack.enter_context(DropoutFromUniforms(masks))
        yield


@contextmanager
def _recurrence_in_operations(module: nn.Module) -> Iterator[None]:
    """Let recurrent layers run as single operations, which the graph shows, and not as one fused kernel."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    if not layers:
        yield
        return
    was: list[tuple[bool, bool]] = []

    def off(*_: Any) -> None:
        was.append((bool(torch.backends.mkldnn.enabled), bool(torch.backends.cudnn.enabled)))
        torch.backends.mkldnn.set_flags(_enabled=False)
        torch.backends.cudnn.set_flags(_enabled=False)

    def back(*_: Any) -> None:
        mkldnn, cudnn = was.pop()
        torch.backends.mkldnn.set_flags(_enabled=mkldnn)
        torch.backends.cudnn.set_flags(_enabled=cudnn)

    handles = [layer.register_forward_pre_hook(off) for layer in layers]
    handles += [layer.register_forward_hook(back, always_call=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
