"""Dropout from named streams, so that a run draws the same masks alone, in a cohort, or in a loop.

PyTorch's dropout reads the global generator: its masks would depend on which engine ran and on
which runs were trained together. Here a forward pass is run under a function mode that replaces
each dropout by a mask made from uniform numbers given in advance. Any other random function in a
forward pass is refused by name.
"""

from __future__ import annotations

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_stack
from types import FunctionType
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction

from clifftop.flow import Batch, DrawStream, Params
from clifftop.gradients.base import PerExampleLoss, UnsupportedModule, innermost_layer

_SPATIAL_AXES: dict[Callable[..., Any], int] = {F.dropout1d: 1, F.dropout2d: 2, F.dropout3d: 3}
"""Dropouts of whole channels, and how many axes a channel has."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One dropout in the forward pass: where the examples lie, and the other axes' sizes."""

    axis: int
    rest: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One dropout as it ran: the shape of its mask, and the layer it ran in."""

    shape: tuple[int, ...]
    where: str


class _DropoutMode(TorchFunctionMode):
    """Hands every dropout of a forward pass, attention's included, to `_drop`."""

    @abstractmethod
    def _drop(self, tensor: Tensor, p: float, mask_shape: tuple[int, ...]) -> Tensor:
        """``tensor`` after a dropout whose mask broadcasts from ``mask_shape``."""

    def _other(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Any function that is not a dropout."""
        return func(*args, **kwargs)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.multi_head_attention_forward:
            # PyTorch switches the mode off inside; its attention would then drop out unseen.
            with self:
                return _multi_head_attention(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is F.dropout or func in _SPATIAL_AXES:
            return self._dropout(func, *args, **kwargs)
        return self._other(func, args, kwargs)

    def _dropout(
        self,
        func: Callable[..., Any],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,  # noqa: FBT001, FBT002  the signature is PyTorch's
        inplace: bool = False,  # noqa: FBT001, FBT002
    ) -> Tensor:
        if not training or p == 0:
            return input
        spatial = _SPATIAL_AXES.get(func, 0)
        if spatial and input.dim() != spatial + 2:
            raise UnsupportedModule(
                f"{func.__name__} must see (B, C, ...) with {spatial} axes after C, found shape "
                f"{tuple(input.shape)}; add the missing axis, or use torch.nn.Dropout"
            )
        shape = (*input.shape[:2], *[1] * spatial) if spatial else tuple(input.shape)
        dropped = self._drop(input, p, shape)
        return input.copy_(dropped) if inplace else dropped

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        bound = _ATTENTION_SIGNATURE.bind(*args, **kwargs)
        bound.apply_defaults()
        options = dict(bound.arguments)
        p = options.pop("dropout_p")
        if p == 0:
            return F.scaled_dot_product_attention(query, key, value, **options)
        if options["enable_gqa"]:
            groups = query.shape[-3] // value.shape[-3]
            value = value.repeat_interleave(groups, dim=-3)
            key = key.repeat_interleave(groups, dim=-3)
        # Attention to an identity matrix gives the attention weights themselves, masks and all.
        identity = torch.eye(key.shape[-2], dtype=value.dtype, device=value.device)
        identity = identity.expand(*key.shape[:-1], key.shape[-2])
        weights = F.scaled_dot_product_attention(query, key, identity, **options)
        return self._drop(weights, p, tuple(weights.shape)) @ value


@final
class _FindDraws(_DropoutMode):
    """Records every dropout of a forward pass, without dropping anything.

    Refuses other randomness, and checkpoints that no engine can differentiate.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.seen: list[_Seen] = []
        self._module = module
        self._device = device
        self._hooks = saved_tensor_hooks()

    def _drop(self, tensor: Tensor, p: float, mask_shape: tuple[int, ...]) -> Tensor:
        del p
        if saved_tensor_hooks() != self._hooks:
            raise UnsupportedModule(
                f"a dropout must lie outside torch.utils.checkpoint, found one inside, in {self._here()}: no "
                "engine can repeat its mask in the backward pass; move it out of the checkpoint"
            )
        self.seen.append(_Seen(shape=mask_shape, where=self._here()))
        return tensor

    def _other(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        # A reentrant checkpoint runs its layers without a graph.
        if not torch.is_grad_enabled():
            self._refuse_reentrant()
        before = generator_states(self._device)
        result = func(*args, **kwargs)
        moved = any(
            not torch.equal(a, b) for a, b in zip(before, generator_states(self._device), strict=True)
        )
        if moved or kwargs.get("generator") is not None:
            raise UnsupportedModule(
                "a model's random draws must come from named streams, found "
                f"{getattr(func, '__name__', func)} in {self._here()}: no engine can repeat it; use "
                "torch.nn.Dropout, or draw outside the model and pass the numbers as an input"
            )
        return result

    def _refuse_reentrant(self) -> None:
        if any(frame.f_code is CheckpointFunction.forward.__code__ for frame, _ in walk_stack(None)):
            raise UnsupportedModule(
                "a checkpoint must be in the graph, found torch.utils.checkpoint with use_reentrant=True in "
                f"{self._here()}: no engine can see its parameters; pass use_reentrant=False"
            )

    def _here(self) -> str:
        return innermost_layer(self._module, (frame for frame, _ in walk_stack(None)))


@final
class DropoutFromUniforms(_DropoutMode):
    """Replaces the i-th dropout of a forward pass by the mask ``uniforms[i] >= p``, scaled by 1/(1-p)."""

    def __init__(self, uniforms: Iterable[Tensor]) -> None:
        super().__init__()
        self._uniforms = iter(uniforms)

    def _drop(self, tensor: Tensor, p: float, mask_shape: tuple[int, ...]) -> Tensor:
        uniform = next(self._uniforms, None)
        if uniform is None:
            raise UnsupportedModule(
                "every forward pass must drop out equally often, found one more dropout (shape "
                f"{mask_shape}) than in the first pass: no engine can name its stream; make the number of "
                "dropouts not depend on the data"
            )
        # p = 1 drops everything; 1 / (1 - p) would be infinite.
        scaled = tensor / (1 - p) if p < 1 else tensor
        return torch.where(uniform >= p, scaled, torch.zeros_like(tensor))


def find_draws(loss: PerExampleLoss, params: Params, batch: Batch) -> tuple[Draw, ...]:
    """The dropouts in one forward pass of ``loss``, in order of execution.

    The pass runs for the first run only, on two and then on three examples: the axis whose size
    changes is the examples' axis. The global generators are left as they were.

    Raises:
        UnsupportedModule: the forward pass draws random numbers other than by dropout, or a
            dropout does not keep the examples on one axis, or lies inside a checkpoint, or a
            checkpoint is a reentrant one.
    """
    two = _observe(loss, params, batch, 2)
    if not two:
        return ()
    three = _observe(loss, params, batch, 3)
    if len(two) != len(three):
        raise UnsupportedModule(
            f"the number of dropouts must not depend on the batch size, found {len(two)} for 2 examples and "
            f"{len(three)} for 3: no engine can name their streams; let every pass drop out equally often"
        )
    return tuple(_draw(a, b) for a, b in zip(two, three, strict=True))


def draw_uniforms(draws: Sequence[Draw], batch_size: int, stream: DrawStream | None) -> list[Tensor]:
    """Uniform numbers for each dropout, ``(R, B, *rest)``, examples first.

    Raises:
        UnsupportedModule: the model drops out and no stream was given.
    """
    if draws and stream is None:
        raise UnsupportedModule(
            f"dropout must draw from a named stream, found {len(draws)} dropout(s) and draws=None; "
            "pass a DrawStream (the trainer does), or put the model in eval mode"
        )
    return [
        stream.uniform(f"dropout/{i}", (batch_size, *draw.rest))
        for i, draw in enumerate(draws)
        if stream is not None
    ]


def first_examples(batch: Batch, size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and targets of the first run's first ``size`` examples, repeated when there are fewer."""
    rows = torch.arange(size, device=batch.mask.device) % batch.padded_size
    return [x[0][rows] for x in batch.inputs], [y[0][rows] for y in batch.targets]


def first_run(tensors: Params) -> dict[str, Tensor]:
    """The first run's tensors, without the run axis."""
    return {name: value[0] for name, value in tensors.items()}


def generator_states(device: torch.device) -> list[Tensor]:
    """States of the global generators that a forward pass on ``device`` could draw from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _observe(loss: PerExampleLoss, params: Params, batch: Batch, size: int) -> list[_Seen]:
    """The dropouts of the first run's forward pass on ``size`` examples."""
    inputs, targets = first_examples(batch, size)
    device = batch.mask.device
    values = {name: value.clone() for name, value in first_run(params).items()}
    constants = {name: value.clone() for name, value in first_run(loss.constants).items()}
    devices = [device] if device.type == "cuda" else []
    found = _FindDraws(loss.module, device)
    # Nothing here requires a gradient, but a checkpoint shows only where one could be taken.
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), quiet_checkpoints(), found:
        loss(values, constants, inputs, targets)
    buffers = {name for name, _ in loss.module.named_buffers()}
    _refuse_written({n: x for n, x in (constants | values).items() if n not in buffers})
    return found.seen


@contextmanager
def quiet_checkpoints() -> Iterator[None]:
    """Without the warning that a reentrant checkpoint gives where nothing requires a gradient."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True", UserWarning)
        yield


def writes(x: Tensor) -> int:
    """How often ``x`` was written in place since it was made."""
    return x._version  # noqa: SLF001  torch has no public count


def _refuse_written(values: Params) -> None:
    """Refuse a forward pass that wrote into these fresh copies of the parameters."""
    for name, value in values.items():
        if writes(value):
            raise UnsupportedModule(
                f"a forward pass must not write into its parameters, found that it writes into '{name}': no "
                "engine can make that private; remove what writes (max_norm of an embedding, for one)"
            )


def _draw(two: _Seen, three: _Seen) -> Draw:
    axes = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if len(axes) != 1 or two.shape[axes[0]] != 2:
        raise UnsupportedModule(
            f"a dropout must keep the examples on one axis, found shape {two.shape} for a batch of 2 in "
            f"{two.where}: no engine can tell whose mask is whose; reshape after the dropout, or remove it"
        )
    return Draw(axis=axes[0], rest=tuple(s for i, s in enumerate(two.shape) if i != axes[0]))


def saved_tensor_hooks() -> object:
    """The innermost hooks on tensors saved for backward, which a checkpoint sets; None outside."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False)  # noqa: SLF001  no public name


def _attention_options(
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002  the signature is PyTorch's
    scale: float | None = None,
    enable_gqa: bool = False,  # noqa: FBT001, FBT002
) -> None:
    """The arguments of scaled dot product attention after query, key and value."""


def _never(*args: Any) -> bool:
    del args
    return False


_ATTENTION_SIGNATURE = inspect.signature(_attention_options)

# PyTorch's own code of multi-head attention, without the check that switches function modes off.
_multi_head_attention = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": _never},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
    F.multi_head_attention_forward.__closure__,
)
_multi_head_attention.__kwdefaults__ = F.multi_head_attention_forward.__kwdefaults__


__all__ = [
    "Draw",
    "DropoutFromUniforms",
    "draw_uniforms",
    "find_draws",
    "first_examples",
    "first_run",
    "generator_states",
    "quiet_checkpoints",
    "saved_tensor_hooks",
    "writes",
]
