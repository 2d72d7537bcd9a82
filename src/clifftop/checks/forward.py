"""What a forward pass shows: the losses' shape, random draws, writes in place, losses not finite."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.checks.report import Findings, listed, problem, warning
from clifftop.checks.subject import FAILURES, Subject, copies, tensor_attributes
from clifftop.flow import DrawStream
from clifftop.gradients.base import UnsupportedModule, call_with, failed_layer
from clifftop.gradients.randomness import (
    DropoutFromUniforms,
    draw_uniforms,
    find_draws,
    writes,
)

TOLERANCES: Mapping[torch.dtype, float] = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference of two losses that rounding may explain, relative to the batch's largest loss.

Rounding of a sum of n terms is about sqrt(n) * 1e-16 in float64 and sqrt(n) * 1e-7 in float32: both
leave a factor of a thousand or more. Half precision gets 5e-2.
"""


def tolerance_of(dtype: torch.dtype) -> float:
    """The tolerance for losses computed in ``dtype``."""
    return TOLERANCES.get(dtype, 5e-2)


def far_apart(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two rows of losses differ by more than ``tolerance`` times the largest of them.

    >>> far_apart(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), 1e-3)
    True
    """
    if not torch.equal(torch.isfinite(a), torch.isfinite(b)):
        return True
    finite = torch.isfinite(a)
    a, b = a[finite].double(), b[finite].double()
    scale = torch.maximum(a.abs(), b.abs()).max() if len(a) else torch.zeros(())
    return bool(((a - b).abs() > tolerance * scale).any())


def first_pass_findings(subject: Subject) -> Findings:
    """A pass on copies of everything: what it writes into, and whether it gives one loss an example."""
    tensors = {name: x.clone() for name, x in (subject.constants() | dict(subject.params)).items()}
    buffers = {name for name, _ in subject.loss.module.named_buffers()}
    inputs, targets = copies(subject.rows.inputs), copies(subject.rows.targets)
    with torch.enable_grad():
        output = call_with(subject.loss.module, tensors, inputs)
        losses = subject.loss.criterion(output, *targets)
    before = {name: c[0] for name, c in subject.loss.constants.items()} | dict(subject.params)
    written = [n for n, x in before.items() if n not in buffers and _written(tensors[n], x)]
    if written:
        return problem(
            "in place",
            f"parameters must change by the optimiser alone, found that a forward pass writes into "
            f"{listed(written)}: no engine can make that private; remove what writes (max_norm of an "
            "embedding, for one)",
            written,
        )
    for kind, mine, given in (
        ("inputs", inputs, subject.rows.inputs),
        ("targets", targets, subject.rows.targets),
    ):
        if any(map(_written, mine, given)):
            return problem(
                "in place",
                f"a forward pass must leave its {kind} as they were, found that it writes into them: an "
                "engine that passes them twice would see other numbers; use the out-of-place operation "
                "(x = x + 1)",
            )
    return _loss_findings(losses, subject.rows.size)


def _written(copy: Tensor, original: Tensor) -> bool:
    # A write through .data is not counted.
    same = torch.equal(copy, original) or (
        copy.is_floating_point() and torch.allclose(copy, original, rtol=0, atol=0, equal_nan=True)
    )
    return writes(copy) > 0 or not same


def _loss_findings(losses: object, size: int) -> Findings:
    """Losses that are not one real number an example."""
    if not isinstance(losses, Tensor):
        return problem(
            "loss",
            f"the criterion must return a tensor of one loss an example, shape ({size},), found a "
            f"{type(losses).__name__}; return the tensor itself",
        )
    if not losses.is_floating_point():
        return problem("loss", f"losses must be real numbers, found dtype={losses.dtype}; return floats")
    if losses.shape == (size,):
        return Findings()
    shape = tuple(losses.shape)
    return problem(
        "loss",
        f"the criterion must return one loss an example, shape ({size},), found {shape}; "
        f"{_shape_remedy(shape, size)}",
    )


def _shape_remedy(shape: tuple[int, ...], size: int) -> str:
    if shape in {(), (1,)}:
        return "use reduction='none' instead of a mean or sum over the batch"
    if shape[0] == size and all(n == 1 for n in shape[1:]):
        return "drop the last axis with .squeeze(-1), or use reduction='none'"
    if shape[0] == size:
        return "use reduction='none' and average over all axes but the first, .flatten(1).mean(1)"
    if len(shape) == 1 and shape[0] % size == 0:
        return f"use reduction='none', then .view(batch, {shape[0] // size}).mean(1)"
    return "use reduction='none', keep the examples on the first axis and average over all others"


def with_dropout(subject: Subject, draws: DrawStream) -> tuple[Subject, Findings]:
    """The subject with its dropouts found and drawn for; what draws otherwise is a problem."""
    batch = subject.rows.batch()
    params = {name: p[None] for name, p in subject.params.items()}
    before = _python_states()
    try:
        dropouts = find_draws(subject.loss, params, batch)
        uniforms = draw_uniforms(dropouts, subject.rows.size, draws)
    except torch.OutOfMemoryError:
        raise
    except UnsupportedModule as refusal:
        return subject, problem("forward", str(refusal))
    except FAILURES as error:
        return subject, problem(
            "sizes",
            "the model must run on any number of examples, found that on two or three it fails in "
            f"{failed_layer(subject.loss.module, error)}; let no layer or reshape fix the batch size",
        )
    if _python_states() != before:
        return subject, problem(
            "randomness",
            "a model's random draws must come from named streams, found that the forward pass draws from "
            "Python's or NumPy's global generator: no engine can repeat it; use torch.nn.Dropout, or draw "
            "outside the model and pass the numbers as an input",
        )
    rows = replace(subject.rows, uniforms=tuple(u[0].to(batch.mask.device) for u in uniforms))
    return replace(subject, rows=rows, dropouts=dropouts), Findings()


def state_findings(subject: Subject) -> Findings:
    """Writes into buffers, state outside them, losses that differ between two passes or are not finite."""
    module, rows = subject.loss.module, subject.rows
    attributes = tensor_attributes(module)
    given = subject.constants()
    names = {name for name, _ in module.named_buffers()}
    buffers = {name: x for name, x in given.items() if name in names}
    uniforms = [u.movedim(0, d.axis) for u, d in zip(rows.uniforms, subject.dropouts, strict=True)]
    with torch.enable_grad(), DropoutFromUniforms(uniforms), _Replaced(module, buffers) as replaced:
        losses = subject.loss(subject.params, given, copies(rows.inputs), copies(rows.targets)).detach()
    before = subject.constants()
    written = {name for name, x in buffers.items() if _written(x, before[name])}
    again = subject.losses(subject.rows)
    found = Findings()
    if far_apart(losses, again, tolerance_of(losses.dtype)):
        found += problem(
            "repeatable",
            "two forward passes on the same examples must give the same losses, found that they differ: "
            "the model keeps state outside its buffers, or draws at random unseen; remove the state, or "
            "register it as a buffer",
        )
    found += _not_kept(written | replaced.names)
    found += _kept_data(attributes, tensor_attributes(module))
    if not bool(torch.isfinite(losses).all()):
        found += problem(
            "finite",
            "losses must be finite, found some on the first examples that are not; look for log(0), "
            "division by 0 and overflow in the model and the criterion, or start from smaller parameters",
        )
    return found


@final
class _Replaced:
    """Notes the buffers that a forward pass binds to new tensors, seen while the pass ends."""

    def __init__(self, module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
        self.names: set[str] = set()
        self._module = module
        self._buffers = buffers

    def __enter__(self) -> _Replaced:
        self._handle = self._module.register_forward_hook(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _look(self, module: nn.Module, _args: Any, _output: Any) -> None:
        now = dict(module.named_buffers())
        self.names |= {n for n, x in self._buffers.items() if n in now and now[n] is not x}


def _not_kept(names: set[str]) -> Findings:
    if not names:
        return Findings()
    return warning(
        "buffers",
        f"the forward pass writes into the buffers {listed(sorted(names))}, which is not kept: what it "
        "writes holds the examples' data, unprotected; expect them to stay as they are during training",
    )


def _kept_data(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> Findings:
    changed = sorted(name for name, seen in after.items() if before.get(name) != seen)
    if not changed:
        return Findings()
    return warning(
        "buffers",
        f"the forward pass keeps a tensor in {listed(changed)}, outside parameters and buffers: it may "
        "hold the examples' data, unprotected; do not save or release it, or drop it after the pass",
    )


def _python_states() -> tuple[object, str]:
    return random.getstate(), repr(np.random.get_state())


__all__ = [
    "TOLERANCES",
    "far_apart",
    "first_pass_findings",
    "state_findings",
    "tolerance_of",
    "with_dropout",
]
