"""What a model's forward pass does with its leaves, found once by running it on two and three examples.

A *leaf* is a module that owns trainable parameters; it is treated as a whole, children included.
The axis whose size changes between the two passes is the examples' axis. The same two passes show
whether examples influence each other, and whether a parameter is used outside its leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from clifftop.flow import Batch, Params
from clifftop.gradients.base import PerExampleLoss, UnsupportedModule, with_own_buffers
from clifftop.gradients.randomness import (
    Draw,
    DropoutFromUniforms,
    find_draws,
    first_examples,
    first_run,
    saved_tensor_hooks,
    writes,
)
from clifftop.gradients.rules import FallbackRule, Rule, rule_for
from clifftop.gradients.rules.fallback import TENSOR_PLACE

_OTHER_ENGINES = "VmapEngine() or LoopEngine()"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A module that owns trainable parameters, with its own name for each and the model's."""

    path: str
    module: nn.Module
    names: Mapping[str, str]
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class CallTrace:
    """One call of a leaf: where the examples lie in what it takes and gives."""

    leaf: Leaf
    spec: Any
    leaves: tuple[object, ...]
    input_axes: tuple[int | None, ...]
    output_axes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelTrace:
    """Every leaf call of a forward pass in order, and its dropouts.

    Attributes:
        leaves: the leaves, whether called or not.
        calls: the calls, in order of execution.
        draws: the dropouts, in order of execution.
        reused: parameters that more than one call uses; their examples' gradients must be added
            before a norm is taken.
    """

    leaves: tuple[Leaf, ...]
    calls: tuple[CallTrace, ...]
    draws: tuple[Draw, ...]
    reused: frozenset[str]


def find_leaves(module: nn.Module) -> tuple[Leaf, ...]:
    """The leaves of a model, outermost first.

    >>> [leaf.path for leaf in find_leaves(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['0', '2']
    """
    canonical = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    seen: set[int] = set()

    def visit(path: str, part: nn.Module) -> Iterator[Leaf]:
        if id(part) in seen:
            return
        seen.add(id(part))
        owns = any(id(p) in canonical for p in part.parameters(recurse=False))
        if owns or parametrize.is_parametrized(part):
            seen.update(id(child) for child in part.modules())
            names = {n: canonical[id(p)] for n, p in part.named_parameters() if id(p) in canonical}
            if names:
                yield Leaf(path=path, module=part, names=names, rule=rule_for(part))
            return
        for name, child in part.named_children():
            yield from visit(f"{path}.{name}" if path else name, child)

    return tuple(visit("", module))


def trace_model(loss: PerExampleLoss, params: Params, batch: Batch) -> ModelTrace:
    """Run the first run's model on two and three examples and say what its leaves did.

    Raises:
        UnsupportedModule: the tape cannot be exact for this model; the message names the module.
    """
    leaves = find_leaves(loss.module)
    draws = find_draws(loss, params, batch)
    two, three = (_observe(loss, params, batch, size, leaves, draws) for size in (2, 3))
    if [call.leaf.path for call in two.calls] != [call.leaf.path for call in three.calls]:
        raise UnsupportedModule(
            "the order of calls must not depend on the batch, found that it does in the model "
            f"({type(loss.module).__name__}); use {_OTHER_ENGINES}"
        )
    if batch.num_runs > 1:
        _refuse_checkpoints(two.calls)
    calls = tuple(_call_trace(a, b) for a, b in zip(two.calls, three.calls, strict=True))
    _require_independence(two, three, calls)
    _require_alone(loss, params, batch, leaves, draws, two, three)
    uses: dict[str, int] = {}
    for call in calls:
        for name in set(call.leaf.names.values()):
            uses[name] = uses.get(name, 0) + 1
    doubled = {n for leaf in leaves for n in leaf.names.values() if list(leaf.names.values()).count(n) > 1}
    reused = frozenset({name for name, count in uses.items() if count > 1} | doubled)
    return ModelTrace(leaves=leaves, calls=calls, draws=draws, reused=reused)


@dataclass(kw_only=True)
class _SeenCall:
    leaf: Leaf
    spec: Any
    leaves: list[object]
    inputs: list[Tensor]
    versions: list[int]
    outputs: list[Tensor]
    dropouts: int
    in_checkpoint: bool


@dataclass(kw_only=True)
class _Observation:
    """What one pass did; ``active`` holds the leaves being run and the dropouts before each began."""

    calls: list[_SeenCall] = field(default_factory=list)
    active: list[tuple[Leaf, int]] = field(default_factory=list)
    dropouts: int = 0
    losses: Tensor = field(default_factory=lambda: torch.empty(0))


class _WatchParameters(TorchFunctionMode):
    """Refuses a parameter that enters an operation outside its own leaf."""

    def __init__(
        self, owners: Mapping[int, tuple[str, frozenset[str]]], active: list[tuple[Leaf, int]]
    ) -> None:
        super().__init__()
        self._owners = owners
        self._active = active

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        if any(isinstance(x, Tensor) for x in pytree.tree_leaves(result)):
            for x in pytree.tree_leaves((tuple(args), kwargs)):
                if id(x) in self._owners:
                    self._check(*self._owners[id(x)])
        return result

    def _check(self, name: str, paths: frozenset[str]) -> None:
        if not any(leaf.path in paths for leaf, _ in self._active):
            raise UnsupportedModule(
                f"the tape needs each parameter to be used by the module that owns it, found '{name}' used "
                f"outside '{' or '.join(sorted(paths)) or '(root)'}'; use {_OTHER_ENGINES}"
            )


def _observe(
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    size: int,
    leaves: Sequence[Leaf],
    draws: Sequence[Draw],
) -> _Observation:
    inputs, targets = first_examples(batch, size)
    values = {name: value.clone() for name, value in first_run(params).items()}
    paths: dict[str, set[str]] = {name: set() for name in values}
    for leaf in leaves:
        for name in leaf.names.values():
            paths[name].add(leaf.path)
    owners = {id(value): (name, frozenset(paths[name])) for name, value in values.items()}
    ones = [torch.ones((size, *draw.rest), device=batch.mask.device).movedim(0, draw.axis) for draw in draws]
    seen = _Observation()

    def counted() -> Iterator[Tensor]:
        for one in ones:
            seen.dropouts += 1
            yield one

    # Nothing here requires a gradient, but a checkpoint shows only where one could be taken.
    with (
        torch.enable_grad(),
        DropoutFromUniforms(counted()),
        _WatchParameters(owners, seen.active),
        _hooks(leaves, seen),
    ):
        seen.losses = loss(values, first_run(with_own_buffers(loss)), inputs, targets)
    for call in seen.calls:
        if [writes(x) for x in call.inputs] != call.versions:
            raise UnsupportedModule(
                f"the tape needs a leaf's input to stay as it was, found the input of '{call.leaf.path}' "
                f"changed in place later; write it out of place, or use {_OTHER_ENGINES}"
            )
    return seen


@contextmanager
def _hooks(leaves: Sequence[Leaf], seen: _Observation) -> Iterator[None]:
    handles: list[RemovableHandle] = []
    for leaf in leaves:

        def enter(_module: nn.Module, _args: Any, leaf: Leaf = leaf) -> None:
            seen.active.append((leaf, seen.dropouts))

        def leave(_module: nn.Module, args: Any, kwargs: Any, output: Any, leaf: Leaf = leaf) -> None:
            _, before = seen.active.pop()
            flat, spec = pytree.tree_flatten((args, kwargs))
            inputs = [x for x in flat if isinstance(x, Tensor)]
            seen.calls.append(
                _SeenCall(
                    leaf=leaf,
                    spec=spec,
                    leaves=[TENSOR_PLACE if isinstance(x, Tensor) else x for x in flat],
                    inputs=inputs,
                    versions=[writes(x) for x in inputs],
                    # Later in-place edits of an output are the model's right; the probe compares values.
                    outputs=[x.clone() for x in pytree.tree_leaves(output) if isinstance(x, Tensor)],
                    dropouts=seen.dropouts - before,
                    in_checkpoint=saved_tensor_hooks() is not None,
                )
            )

        handles += [
            leaf.module.register_forward_pre_hook(enter),
            leaf.module.register_forward_hook(leave, with_kwargs=True),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_checkpoints(calls: Sequence[_SeenCall]) -> None:
    for call in calls:
        if call.in_checkpoint:
            raise UnsupportedModule(
                f"the tape needs a leaf of a cohort to run once, found {_name(call.leaf)} inside "
                "torch.utils.checkpoint, which runs it again in the backward pass; train one run at a time, "
                "or use LoopEngine()"
            )


def _call_trace(two: _SeenCall, three: _SeenCall) -> CallTrace:
    where = _name(two.leaf)
    if two.dropouts and isinstance(two.leaf.rule, FallbackRule):
        raise UnsupportedModule(
            f"the tape needs dropout to lie outside the leaves, found {two.dropouts} inside {where}; "
            f"use {_OTHER_ENGINES}"
        )
    input_axes = tuple(
        _axis(a, b, f"an input of {where}") for a, b in zip(two.inputs, three.inputs, strict=True)
    )
    output_axes: list[int] = []
    for a, b in zip(two.outputs, three.outputs, strict=True):
        axis = _axis(a, b, f"an output of {where}")
        if axis is None:
            raise UnsupportedModule(
                f"the tape needs every output of a leaf to carry the examples, found {where} giving shape "
                f"{tuple(a.shape)} for any batch; use {_OTHER_ENGINES}"
            )
        output_axes.append(axis)
    return CallTrace(
        leaf=two.leaf,
        spec=two.spec,
        leaves=tuple(two.leaves),
        input_axes=input_axes,
        output_axes=tuple(output_axes),
    )


def _name(leaf: Leaf) -> str:
    return f"'{leaf.path or '(root)'}' ({type(leaf.module).__name__})"


def _axis(two: Tensor, three: Tensor, where: str) -> int | None:
    axes = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if not axes:
        return None
    if len(axes) > 1 or two.shape[axes[0]] != 2:
        raise UnsupportedModule(
            f"the tape needs the examples on an axis of their own, found {where} with shape "
            f"{tuple(two.shape)} for a batch of 2; keep the axis apart, or use {_OTHER_ENGINES}"
        )
    return axes[0]


def _require_independence(two: _Observation, three: _Observation, calls: Sequence[CallTrace]) -> None:
    """Refuse a model whose first two losses change when a third example joins the batch."""
    if _close(two.losses, three.losses[:2]):
        return
    where = "the criterion, or the layers after the last leaf"
    for a, b, call in zip(two.calls, three.calls, calls, strict=True):
        name = _name(call.leaf)
        if not all(map(_close_rows, a.inputs, b.inputs, call.input_axes)):
            where = f"the layers before {name}"
            break
        if not all(map(_close_rows, a.outputs, b.outputs, call.output_axes)):
            where = name
            break
    raise UnsupportedModule(
        f"an example's loss must not depend on the others in its batch, found that it does in {where}: "
        "no engine can make this model private; replace what mixes the batch (batch statistics, "
        "contrastive terms)"
    )


def _require_alone(
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    leaves: Sequence[Leaf],
    draws: Sequence[Draw],
    two: _Observation,
    three: _Observation,
) -> None:
    """Refuse a model that gives an example another loss beside others than beside itself.

    This finds what a third example cannot show: a maximum over the batch that lies in the first two.
    """
    for b in range(3):
        twice = _observe(loss, params, _only(batch, b % batch.padded_size), 2, leaves, draws)
        _require_same_calls(two, twice)
        if not _close(twice.losses, three.losses[b].expand(2)):
            raise UnsupportedModule(
                "an example's loss must not depend on the others in its batch, found that it does in the "
                f"criterion or in the model ({type(loss.module).__name__}): no engine can make this model "
                "private; replace what mixes the batch (batch statistics, contrastive terms)"
            )


def _require_same_calls(one: _Observation, other: _Observation) -> None:
    """Refuse leaves whose calls, or the shapes in them, depend on the examples' values."""
    shapes = [
        [(call.leaf.path, *(x.shape for x in (*call.inputs, *call.outputs))) for call in seen.calls]
        for seen in (one, other)
    ]
    for a, b in zip_longest(*shapes, fillvalue=()):
        if a != b:
            raise UnsupportedModule(
                "what a leaf sees must not depend on the examples' values, found that it does at "
                f"'{(a or b or ('?',))[0]}'; select after the layer instead of before it, or use LoopEngine()"
            )


def _only(batch: Batch, b: int) -> Batch:
    """Example b of every run, alone."""
    return Batch(
        inputs=tuple(x[:, b : b + 1] for x in batch.inputs),
        targets=tuple(y[:, b : b + 1] for y in batch.targets),
        mask=batch.mask[:, b : b + 1],
    )


def _close_rows(two: Tensor, three: Tensor, axis: int | None) -> bool:
    return _close(two, three if axis is None else three.narrow(axis, 0, 2))


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
