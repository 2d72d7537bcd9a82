"""Losses and scores of R runs on their test examples: one mapped forward pass, or one a run.

A chain with convolutions is evaluated by its own kernels, run by run, as it is trained (`by_run`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import vmap

from clifftop.flow import Params
from clifftop.gradients import Criterion
from clifftop.gradients.base import call_with
from clifftop.gradients.chain import Chain, Shared, chain_of, slices, suits

_ELEMENTS = 1 << 24
_SLICE = 512  # examples of one run at a time, where runs go one by one


@torch.no_grad()
def evaluate(
    module: nn.Module,
    criteria: Mapping[str, Criterion],
    params: Params,
    constants: Params,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
) -> dict[str, Tensor]:
    """The mean of each criterion over the test examples, ``(R,)`` in float64, with the module in eval mode.

    ``inputs`` and ``targets`` are ``(R, M, ...)``; examples are taken in chunks that fit memory. A module
    that cannot be mapped over runs (a recurrent layer) is called run by run.
    """
    chain = chain_of(module) if suits(params, constants, inputs) else None
    if chain is not None and chain.convolves:
        return _by_run(chain, criteria, params, constants, inputs[0], targets)
    runs, count = targets[0].shape[:2]
    widest = max(x[0, 0].numel() for x in (*inputs, *targets))
    chunk = max(1, _ELEMENTS // max(1, runs * widest))
    totals = {name: torch.zeros(runs, dtype=torch.float64) for name in criteria}
    with _evaluating(module):
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            sums = _sums(
                module,
                criteria,
                params,
                constants,
                [x[:, part] for x in inputs],
                [y[:, part] for y in targets],
            )
            for name, value in sums.items():
                totals[name] += value.double().cpu()
    return {name: total / count for name, total in totals.items()}


def _by_run(
    chain: Chain,
    criteria: Mapping[str, Criterion],
    params: Params,
    constants: Params,
    inputs: Tensor,
    targets: Sequence[Tensor],
) -> dict[str, Tensor]:
    """Each criterion's mean, ``(R,)``: slice by slice, so that runs share what is made of a slice."""
    runs, count = targets[0].shape[:2]
    tensors = [{name: v[r] for name, v in (*params.items(), *constants.items())} for r in range(runs)]
    totals = {name: torch.zeros(runs, dtype=torch.float64) for name in criteria}
    shared = Shared()
    for rows in slices(count, _SLICE):
        for r in range(runs):
            x = inputs[r, rows]
            shared.begin(x)
            output = chain.outputs(x, tensors[r], shared)
            own = [y[r, rows] for y in targets]
            for name, criterion in criteria.items():
                totals[name][r] += criterion(output, *own).sum().double()
    return {name: total / count for name, total in totals.items()}


def _sums(
    module: nn.Module,
    criteria: Mapping[str, Criterion],
    params: Params,
    constants: Params,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
) -> dict[str, Tensor]:
    """Each criterion's sum over the examples, ``(R,)``."""

    def one_run(
        params: Params, constants: Params, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        output = call_with(module, {**constants, **params}, tuple(inputs))
        return {name: criterion(output, *targets).sum() for name, criterion in criteria.items()}

    try:
        return vmap(one_run)(params, constants, list(inputs), list(targets))
    except RuntimeError:  # what torch raises for an operation that it cannot map
        runs = targets[0].shape[0]
        alone = [
            one_run(
                {name: p[r] for name, p in params.items()},
                {name: c[r] for name, c in constants.items()},
                [x[r] for x in inputs],
                [y[r] for y in targets],
            )
            for r in range(runs)
        ]
        return {name: torch.stack([sums[name] for sums in alone]) for name in criteria}


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
