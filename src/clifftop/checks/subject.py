"""The model under test, one run without the run axis, and forward passes of it that leave no trace."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from clifftop.flow import Batch, DrawStream
from clifftop.gradients.base import Criterion, PerExampleLoss, constant_tensors, trainable_parameters
from clifftop.gradients.randomness import Draw, DropoutFromUniforms

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the user's code may raise on examples that we made up."""

_COPY_BYTES = 2**29


@final
@dataclass(frozen=True, kw_only=True)
class Rows:
    """Examples, each tensor with the examples first: inputs, targets, and uniforms of each dropout."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    uniforms: tuple[Tensor, ...] = ()

    @property
    def size(self) -> int:
        """How many examples there are."""
        return len(next(iter((*self.inputs, *self.targets))))

    def take(self, rows: Sequence[int]) -> Rows:
        """These rows, in this order, as copies."""
        index = torch.tensor(rows)
        inputs, targets, uniforms = (
            tuple(x[index.to(x.device)] for x in part) for part in (self.inputs, self.targets, self.uniforms)
        )
        return Rows(inputs=inputs, targets=targets, uniforms=uniforms)

    def to_double(self) -> Rows:
        """The same with float64 in place of every narrower float."""
        inputs, targets, uniforms = (
            tuple(map(_double, part)) for part in (self.inputs, self.targets, self.uniforms)
        )
        return Rows(inputs=inputs, targets=targets, uniforms=uniforms)

    def batch(self) -> Batch:
        """A batch of one run."""
        device = next(iter((*self.inputs, *self.targets))).device
        return Batch(
            inputs=tuple(x[None] for x in self.inputs),
            targets=tuple(y[None] for y in self.targets),
            mask=torch.ones(1, self.size, dtype=torch.bool, device=device),
        )


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, a loss, parameters and examples.

    Attributes:
        loss: the model and the criterion, with constants ``(1, ...)``.
        params: trainable parameters, detached, without the run axis.
        rows: the examples.
        dropouts: the model's dropouts; ``rows.uniforms`` has one entry each.
        draws: what the engines draw dropout from.
    """

    loss: PerExampleLoss
    params: Mapping[str, Tensor]
    rows: Rows
    dropouts: tuple[Draw, ...] = ()
    draws: DrawStream

    def losses(self, rows: Rows, params: Mapping[str, Tensor] | None = None) -> Tensor:
        """Losses ``(B,)`` of these examples, by a pass that may write into its own copies only."""
        params = self.params if params is None else params
        uniforms = [u.movedim(0, d.axis) for u, d in zip(rows.uniforms, self.dropouts, strict=True)]
        # Gradients stay on for models that differentiate inside; nothing here requires one.
        with torch.enable_grad(), DropoutFromUniforms(uniforms):
            found = self.loss(params, self.constants(), copies(rows.inputs), copies(rows.targets))
        return found.detach()

    def constants(self) -> dict[str, Tensor]:
        """Frozen parameters, and copies of the buffers."""
        buffers = {name for name, _ in self.loss.module.named_buffers()}
        return {n: c[0].clone() if n in buffers else c[0] for n, c in self.loss.constants.items()}

    def precision(self) -> torch.dtype:
        """The coarsest floating-point type that one pass computes in: a model may round on its way."""
        widths = _Widths()
        with widths:
            losses = self.losses(self.rows)
        return min((*widths.seen, losses.dtype), key=lambda dtype: -torch.finfo(dtype).eps)


def subject_of(module: nn.Module, criterion: Criterion, rows: Rows, draws: DrawStream) -> Subject:
    """The module at its own parameters, which are not copied."""
    constants = {name: c[None] for name, c in constant_tensors(module).items()}
    return Subject(
        loss=PerExampleLoss(module=module, criterion=criterion, constants=constants),
        params=trainable_parameters(module),
        rows=rows,
        draws=draws,
    )


def in_double(subject: Subject) -> tuple[Subject, float]:
    """A deep copy in float64, and the seconds of a pass; ``subject`` where none can be made or run.

    None is made of what is in float64 already, or would not fit into half a gibibyte.
    """
    module = subject.loss.module
    tensors = (*module.parameters(), *module.buffers(), *subject.rows.inputs)
    wide_already = all(x.dtype == torch.float64 for x in tensors if x.is_floating_point())
    if wide_already or 8 * sum(x.numel() for x in tensors) > _COPY_BYTES:
        return subject, 0.0
    try:
        criterion = _double_criterion(subject.loss.criterion)
        wide = replace(
            subject_of(copy.deepcopy(module).double(), criterion, subject.rows.to_double(), subject.draws),
            dropouts=subject.dropouts,
        )
        started = time.monotonic()
        wide.losses(wide.rows)
    except FAILURES:
        # Not every model can be copied, and one may hold float32 tensors that are not buffers.
        return subject, 0.0
    return wide, time.monotonic() - started


def nearby(params: Mapping[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Parameters a tenth of their size away, and no longer zero."""
    moved: dict[str, Tensor] = {}
    for name, p in params.items():
        size = p.float().square().mean().sqrt() if p.numel() else torch.zeros(())
        scale = 0.1 * (size if size > 0 else torch.ones_like(size))
        moved[name] = p + (scale * torch.randn(p.shape, generator=rng).to(p.device)).to(p.dtype)
    return moved


def copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copies that a forward pass may write into."""
    return tuple(x.clone() for x in tensors)


@contextmanager
def untouched(module: nn.Module, criterion: Criterion) -> Iterator[None]:
    """Give the layers their attributes back, and the global generators their states."""
    parts = [m for root in (module, criterion) if isinstance(root, nn.Module) for m in root.modules()]
    attributes = [(part, dict(vars(part))) for part in parts]
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=_cuda_devices(module)):
            yield
    finally:
        for part, before in attributes:
            vars(part).clear()
            vars(part).update(before)
        random.setstate(python)
        np.random.set_state(numbers)


def tensor_attributes(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Tensors that layers hold as plain attributes, and how each can be told from a changed one."""
    found: dict[str, tuple[int, int]] = {}
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            for x in pytree.tree_leaves(value) if not name.startswith("_") else ():
                if isinstance(x, Tensor) and not isinstance(x, nn.Parameter):
                    found[f"{path}.{name}" if path else name] = (id(x), x._version)  # noqa: SLF001
    return found


class _Widths(TorchFunctionMode):
    """Notes the floating-point types of everything that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **dict(kwargs or {}))
        for x in pytree.tree_leaves(result):
            # A number of its own is a constant: rounded once, the same for every pass.
            if isinstance(x, Tensor) and x.dim() and x.is_floating_point():
                self.seen.add(x.dtype)
        return result


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _double_criterion(criterion: Criterion) -> Criterion:
    return copy.deepcopy(criterion).double() if isinstance(criterion, nn.Module) else criterion


def _cuda_devices(module: nn.Module) -> list[torch.device]:
    return sorted({p.device for p in module.parameters() if p.device.type == "cuda"}, key=str)
