"""Accuracy and loss of R runs on their test examples, in one mapped forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from clifftop.flow import Params
from clifftop.gradients import Criterion

_ELEMENTS = 1 << 24


@torch.no_grad()
def evaluate(
    module: nn.Module,
    criterion: Criterion,
    params: Params,
    constants: Params,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
) -> dict[str, Tensor]:
    """Test ``accuracy`` and mean ``loss``, ``(R,)`` each, with the module in eval mode.

    ``inputs`` and ``targets`` are ``(R, M, ...)``; examples are taken in chunks that fit memory.
    """

    def one_run(
        params: Params, constants: Params, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        output = functional_call(module, {**constants, **params}, tuple(inputs))
        return (output.argmax(-1) == targets[0]).sum(), criterion(output, *targets).sum()

    runs, count = inputs[0].shape[:2]
    chunk = max(1, _ELEMENTS // max(1, runs * inputs[0][0, 0].numel()))
    correct = torch.zeros(runs, dtype=torch.int64)
    total = torch.zeros(runs, dtype=torch.float64)
    with _evaluating(module):
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            right, losses = vmap(one_run)(
                params, constants, [x[:, part] for x in inputs], [y[:, part] for y in targets]
            )
            correct += right
            total += losses.double()
    return {"accuracy": correct.double() / count, "loss": total / count}


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, with each layer's own mode given back."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
