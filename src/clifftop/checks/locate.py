"""The first layer in which examples begin to influence each other, by two passes with hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from clifftop.checks.forward import far_apart
from clifftop.checks.subject import FAILURES, Rows, Subject

_GENERAL = "replace what mixes the batch (batch statistics, sums and softmaxes over the first axis)"
_REMEDIES: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], str], ...] = (
    (_NormBase, "replace it by torch.nn.GroupNorm or LayerNorm, or freeze it with .eval()"),
    (
        (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer),
        "it may take the batch for a sequence: pass batch_first=True, or give it (T, B, d)",
    ),
)
_CRITERION_REMEDY = (
    "use a criterion that looks at one example at a time (a contrastive loss, or one that averages or "
    "weighs over the batch, does not)"
)


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where examples mix, and what to do about it, for a message."""

    where: str
    remedy: str


@dataclass(kw_only=True)
class _Event:
    """A layer that begins (with its inputs) or ends (with its outputs); ``parents`` innermost last."""

    layer: nn.Module
    parents: tuple[nn.Module, ...]
    ends: bool
    tensors: list[Tensor]


@dataclass(kw_only=True)
class _Pass:
    events: list[_Event] = field(default_factory=list)
    open: list[nn.Module] = field(default_factory=list)


def locate(
    subject: Subject,
    params: Mapping[str, Tensor],
    *,
    whole: Rows,
    part: Rows,
    pairs: Sequence[tuple[int, int]],
    tolerance: float,
) -> Place:
    """The first place where a pass on ``part`` differs from one on ``whole`` for the same examples.

    Args:
        subject: the model.
        params: the parameters at which the losses differed.
        whole: the batch as it is.
        part: the batch after a change.
        pairs: the places of the unchanged examples in ``whole`` and in ``part``.
        tolerance: largest relative difference that rounding explains.
    """
    # The axis whose size changes between batches of two sizes is the examples'.
    sizes = (whole.size, part.size)
    other = whole.take(range(whole.size - 1)) if sizes[0] == sizes[1] else whole
    a, b, c = (_observed(subject, params, rows) for rows in (whole, part, other))
    shape_of = {id(event): reference for event, reference in zip(b.events, c.events, strict=False)}
    for x, y in zip(a.events, b.events, strict=False):
        if x.layer is not y.layer or x.ends != y.ends:
            return _place(subject.loss.module, x)
        reference = shape_of.get(id(y))
        tensors = zip(x.tensors, y.tensors, reference.tensors if reference else y.tensors, strict=False)
        if any(_differ(p, q, r, (*sizes, other.size), pairs, tolerance) for p, q, r in tensors):
            return _place(subject.loss.module, x)
    return Place(where="the criterion", remedy=_CRITERION_REMEDY)


def _observed(subject: Subject, params: Mapping[str, Tensor], rows: Rows) -> _Pass:
    seen = _Pass()
    with _hooks(subject.loss.module, seen):
        try:
            subject.losses(rows, params)
        except torch.OutOfMemoryError:
            raise
        except FAILURES:
            return seen
    return seen


@contextmanager
def _hooks(module: nn.Module, seen: _Pass) -> Iterator[None]:
    handles: list[RemovableHandle] = []

    def tensors(values: Any) -> list[Tensor]:
        return [x.detach().clone() for x in pytree.tree_leaves(values) if isinstance(x, Tensor)]

    def enter(layer: nn.Module, args: Any, kwargs: Any) -> None:
        seen.events.append(
            _Event(layer=layer, parents=tuple(seen.open), ends=False, tensors=tensors((args, kwargs)))
        )
        seen.open.append(layer)

    def leave(layer: nn.Module, _args: Any, output: Any) -> None:
        if seen.open:
            seen.open.pop()
        seen.events.append(_Event(layer=layer, parents=tuple(seen.open), ends=True, tensors=tensors(output)))

    try:
        for layer in module.modules():
            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _place(module: nn.Module, event: _Event) -> Place:
    """A layer whose output is the first to differ; or its parent, if what enters it differs already."""
    names = {id(layer): name for name, layer in module.named_modules()}
    layer = event.layer if event.ends or not event.parents else event.parents[-1]
    name = f"'{names.get(id(layer), '') or '(root)'}' ({type(layer).__name__})"
    if not event.ends and event.parents:
        name = f"{name} before '{names.get(id(event.layer), '')}'"
    remedy = next((text for kinds, text in _REMEDIES if isinstance(layer, kinds)), _GENERAL)
    return Place(where=name, remedy=remedy)


def _differ(
    x: Tensor,
    y: Tensor,
    reference: Tensor,
    sizes: tuple[int, int, int],
    pairs: Sequence[tuple[int, int]],
    tolerance: float,
) -> bool:
    """Whether the same examples have other values in ``x`` and ``y``; False where they cannot be found."""
    whole, part, other = sizes
    if x.dim() != y.dim() or y.dim() != reference.dim():
        return False
    axes = [i for i, (m, n) in enumerate(zip(y.shape, reference.shape, strict=True)) if m != n]
    if not axes:
        return _values_differ(x, y, tolerance) if x.shape == y.shape else False
    axis = axes[0]
    if len(axes) > 1 or (x.shape[axis], y.shape[axis], reference.shape[axis]) != (whole, part, other):
        return False
    mine = torch.tensor([i for i, _ in pairs], device=x.device)
    theirs = torch.tensor([j for _, j in pairs], device=y.device)
    return _values_differ(x.index_select(axis, mine), y.index_select(axis, theirs), tolerance)


def _values_differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    if not a.is_floating_point():
        return not torch.equal(a, b)
    return far_apart(a.flatten(), b.flatten(), tolerance)
