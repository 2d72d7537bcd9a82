"""Any leaf at all: each example's gradient by a vector-Jacobian product through that leaf alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.func import vjp
from torch.utils import _pytree as pytree

from clifftop.flow import Params
from clifftop.gradients.base import UnsupportedModule, call_with
from clifftop.gradients.mapping import over_runs_and_examples
from clifftop.gradients.rules.base import LeafCall, Rule


@final
class TensorPlace:
    """Marks the place of a recorded tensor among a call's arguments."""


TENSOR_PLACE = TensorPlace()


@dataclass(frozen=True, kw_only=True)
class CallLayout:
    """How to call a leaf again from its recorded tensors.

    Attributes:
        spec: structure of ``(args, kwargs)``.
        leaves: the flattened arguments, with `TENSOR_PLACE` where a tensor was recorded.
        input_axes: the examples' axis in each recorded tensor, None where it has none.
        output_axes: the examples' axis in each output tensor that received a gradient.
        differentiable: which of the output tensors received a gradient.
        params: every trainable parameter of the leaf, ``(R, ...)``, by the leaf's own name.
        constants: its frozen parameters and buffers, likewise.
        buffers: which of the constants the leaf may write into.
    """

    spec: Any
    leaves: tuple[object, ...]
    input_axes: tuple[int | None, ...]
    output_axes: tuple[int, ...]
    differentiable: tuple[bool, ...]
    params: Params
    constants: Params
    buffers: frozenset[str]


@final
class FallbackRule(Rule):
    """Instantiates each example's gradient: exact for any leaf that ``torch.func`` can map."""

    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``.

        Raises:
            UnsupportedModule: ``torch.func`` cannot map this leaf.
        """
        layout = call.layout
        assert isinstance(layout, CallLayout)
        num_inputs = len(call.inputs)

        def one_example(params: Params, constants: Params, data: list[Tensor]) -> Params:
            def outputs(p: Params) -> tuple[Tensor, ...]:
                args, kwargs = _arguments(layout, data[:num_inputs])
                return _gradient_outputs(layout, call_with(call.module, {**constants, **p}, args, kwargs))

            return vjp(outputs, params)[1](tuple(data[num_inputs:]))[0]

        try:
            grads = over_runs_and_examples(
                one_example,
                layout.params,
                layout.constants,
                [*call.inputs, *call.output_grads],
                has_examples=[*call.input_has_examples, *[True] * len(call.output_grads)],
                buffers=layout.buffers,
            )
        except (RuntimeError, NotImplementedError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnsupportedModule(
                f"the tape must differentiate each leaf alone, found that torch.func cannot at '{call.path}' "
                f"({type(call.module).__name__}: {reason}); use LoopEngine()"
            ) from error
        return {name: grads[name] for name in call.names}


def _arguments(layout: CallLayout, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    tensors = iter(
        x if axis is None else x.unsqueeze(axis) for x, axis in zip(inputs, layout.input_axes, strict=True)
    )
    leaves = [next(tensors) if leaf is TENSOR_PLACE else leaf for leaf in layout.leaves]
    args, kwargs = pytree.tree_unflatten(leaves, layout.spec)
    return args, kwargs


def _gradient_outputs(layout: CallLayout, result: object) -> tuple[Tensor, ...]:
    tensors = [x for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
    kept = [x for x, wanted in zip(tensors, layout.differentiable, strict=True) if wanted]
    return tuple(x.squeeze(axis) for x, axis in zip(kept, layout.output_axes, strict=True))
