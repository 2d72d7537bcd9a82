"""What every gradient engine shares: the per-example loss, the engine's contract, its refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from traceback import walk_tb
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from clifftop.flow import Batch, DrawStream, GroupMap, Params, PerExampleGrads

Criterion = Callable[..., Tensor]
"""``criterion(output, *targets)`` gives one loss an example, ``(B,)``; no reduction."""


Arguments = Callable[[Sequence[Tensor]], tuple[tuple[Any, ...], dict[str, Any]]]
"""From a batch's inputs to the arguments and keyword arguments of the module."""


class UnsupportedModule(ValueError):
    """An engine cannot give exact per-example gradients for this model; the message names why."""


class GradientEngine(Protocol):
    """Gives per-example gradients of a model: two operations are enough for every clipping rule.

    Engines are exact or refuse with `UnsupportedModule`, naming the module and the engine that works.
    """

    def __call__(
        self,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        groups: GroupMap,
        draws: DrawStream | None = None,
    ) -> PerExampleGrads:
        """Per-example gradients at ``params`` on ``batch``; ``draws`` feeds dropout."""
        ...


@dataclass(frozen=True, kw_only=True)
class PerExampleLoss:
    """A module and a criterion, as a function of explicit parameters.

    Attributes:
        module: the model; called as ``module(*inputs)`` with the examples of ``inputs`` independent.
        criterion: ``criterion(output, *targets) -> (B,)``.
        constants: frozen parameters and buffers, one ``(R, ...)`` tensor each.
        arguments: from the inputs to the module's arguments and keyword arguments; by default the
            inputs are its positional arguments.
    """

    module: nn.Module
    criterion: Criterion
    constants: Params = field(default_factory=dict)
    arguments: Arguments | None = None

    def __call__(
        self,
        params: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
    ) -> Tensor:
        """Losses ``(B,)`` of one run: every tensor here is without the run axis."""
        args, kwargs = arguments_of(self.arguments, inputs)
        output = call_with(self.module, {**constants, **params}, args, kwargs)
        losses = self.criterion(output, *targets)
        size = next((x.shape[0] for x in (*inputs, *targets)), losses.numel())
        if losses.shape != (size,):
            raise ValueError(
                f"the criterion must return one loss an example, shape ({size},), found "
                f"{tuple(losses.shape)}; use reduction='none' and average over any other axis"
            )
        return losses


def arguments_of(
    arguments: Arguments | None, inputs: Sequence[Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as a module's arguments and keyword arguments."""
    if arguments is not None:
        return arguments(inputs)
    empty: dict[str, Any] = {}
    return tuple(inputs), empty


def call_with(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """``module(*args, **kwargs)`` with ``tensors`` as its parameters and buffers, tied ones included.

    ``torch.func.functional_call`` ties weights itself, but leaves a module that is registered
    under two names with the tensors of the call; so each tied tensor is named here, once a module.
    """
    aliases: dict[str, Tensor] = {}
    first: dict[int, str] = {}
    for path, layer in module.named_modules():
        parameters = layer.named_parameters(path, recurse=False, remove_duplicate=False)
        buffers = layer.named_buffers(path, recurse=False, remove_duplicate=False)
        for name, tensor in (*parameters, *buffers):
            canonical = first.setdefault(id(tensor), name)
            if canonical != name and canonical in tensors:
                aliases[name] = tensors[canonical]
    return functional_call(module, {**tensors, **aliases}, args, dict(kwargs or {}), tie_weights=False)


def trainable_parameters(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, detached, by name; tied weights appear once."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def constant_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Frozen parameters and buffers, detached, by name."""
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return frozen | {name: b.detach() for name, b in module.named_buffers()}


def with_own_buffers(loss: PerExampleLoss) -> Params:
    """The constants with the buffers copied, so that a forward pass may write into them unseen.

    Frozen parameters, which may be large, are not copied.
    """
    buffers = {name for name, _ in loss.module.named_buffers()}
    return {name: c.clone() if name in buffers else c for name, c in loss.constants.items()}


def stack_runs(runs: Iterable[Mapping[str, Tensor]]) -> Params:
    """Stack the tensors of several runs, name by name, on a new first axis R."""
    items = list(runs)
    return {name: torch.stack([run[name] for run in items]) for name in items[0]}


def flat_groups(params: Iterable[str]) -> dict[str, int]:
    """Every parameter in one group: flat clipping."""
    return dict.fromkeys(params, 0)


def num_groups(groups: GroupMap) -> int:
    """G, the number of groups in a map."""
    return max(groups.values(), default=-1) + 1


def failed_layer(module: nn.Module, error: BaseException) -> str:
    """The innermost layer of ``module`` whose forward pass ran when ``error`` rose, and why, for messages."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
    return f"{innermost_layer(module, reversed(frames))}: {reason.rstrip('.')}"


def innermost_layer(module: nn.Module, frames: Iterable[FrameType]) -> str:
    """The layer of ``module`` whose forward pass runs in the first of ``frames``, for messages.

    ``frames`` go from the innermost outwards; with none of a layer, the module itself is named.
    """
    names = {id(layer): name for name, layer in module.named_modules()}
    candidates = (frame.f_locals.get("self") for frame in frames)
    found = next((c for c in candidates if isinstance(c, nn.Module) and id(c) in names), module)
    return f"'{names[id(found)] or '(root)'}' ({type(found).__name__})"


def refuse_unprotectable(module: nn.Module) -> None:
    """Refuse what no engine can protect.

    A layer whose output for one example depends on the others in the batch has no per-example
    gradient, so clipping cannot bound one example's influence. A complex parameter has one, but the
    norms here are those of real numbers.

    Raises:
        UnsupportedModule: for batch normalisation in training mode, for any normalisation that keeps
            running statistics of the data, and for complex parameters that are trained.
    """
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.is_complex():
            raise UnsupportedModule(
                f"trained parameters must be real, found '{name}' with dtype={parameter.dtype}: no engine "
                "can bound its gradient; hold the real and the imaginary part as two parameters"
            )
    for name, layer in module.named_modules():
        batch_statistics = isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)
        running_statistics = isinstance(layer, _NormBase) and layer.training and layer.track_running_stats
        if batch_statistics or running_statistics:
            raise UnsupportedModule(
                f"examples must not share statistics, found {type(layer).__name__} at "
                f"'{name or '(root)'}', which mixes the batch: no engine can make it private; replace it "
                "by torch.nn.GroupNorm or LayerNorm, or freeze it with .eval()"
            )


def model_signature(loss: PerExampleLoss, params: Params, batch: Batch) -> object:
    """Everything that what an engine found out about a module depends on, besides the module itself.

    The number of examples is no part of it.
    """
    tensors = (*batch.inputs, *batch.targets)
    shapes = tuple((x.shape[2:], x.dtype) for x in tensors)
    modes = tuple(layer.training for layer in loss.module.modules())
    dtypes = tuple((name, p.dtype) for name, p in params.items())
    return loss.criterion, loss.arguments, shapes, modes, dtypes, batch.num_runs == 1
