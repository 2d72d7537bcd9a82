"""Any leaf at all: each example's gradient by a vector-Jacobian product through that leaf alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap
from torch.utils import _pytree as pytree

from clifftop.flow import Params
from clifftop.gradients.rules.base import LeafCall, Rule, squared_norm


@dataclass(frozen=True, kw_only=True)
class CallLayout:
    """How to call a leaf again from its recorded tensors.

    Attributes:
        spec: structure of ``(args, kwargs)``.
        leaves: the flattened arguments, with `TENSOR_PLACE` where a tensor was recorded.
        input_axes: the examples' axis in each recorded tensor, None where it has none.
        output_axes: the examples' axis in each output tensor.
        differentiable: which of the output tensors received a gradient.
        params: every trainable parameter of the leaf, ``(R, ...)``, by the leaf's own name.
        constants: its frozen parameters and buffers, likewise.
    """

    spec: Any
    leaves: tuple[object, ...]
    input_axes: tuple[int | None, ...]
    output_axes: tuple[int, ...]
    differentiable: tuple[bool, ...]
    params: Params
    constants: Params


class FallbackRule(Rule):
    """Instantiates each example's gradient: exact for any leaf that ``torch.func`` can map."""

    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""
        return {name: squared_norm(grad) for name, grad in self.instantiate(call).items()}

    def weighted_sum(self, call: LeafCall, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over examples of weight times gradient, ``(R, ...)``."""
        return {name: weigh(grad, weights[name]) for name, grad in self.instantiate(call).items()}

    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``."""
        layout = call.layout
        assert isinstance(layout, CallLayout)

        def one_example(
            params: Params, constants: Params, inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
        ) -> Params:
            def outputs(p: Params) -> tuple[Tensor, ...]:
                args, kwargs = _arguments(layout, inputs)
                result = functional_call(call.module, {**constants, **p}, args, kwargs)
                return _gradient_outputs(layout, result)

            return vjp(outputs, params)[1](grads)[0]

        in_dims = (None, None, tuple(0 if has else None for has in call.input_has_examples), 0)
        per_run = vmap(one_example, in_dims=in_dims, randomness="error")
        return vmap(per_run, randomness="error")(
            layout.params, layout.constants, call.inputs, call.output_grads
        )


def weigh(grads: Tensor, weights: Tensor) -> Tensor:
    """Sum over examples of ``(R, B)`` weights times ``(R, B, ...)`` gradients.

    >>> weigh(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[1.0, 0.5]]))
    tensor([[2.5000, 4.0000]])
    """
    flat = grads.reshape(*grads.shape[:2], -1)
    return (weights.unsqueeze(1) @ flat).reshape(grads.shape[:1] + grads.shape[2:])


def _arguments(layout: CallLayout, inputs: tuple[Tensor, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    tensors = iter(
        x if axis is None else x.unsqueeze(axis) for x, axis in zip(inputs, layout.input_axes, strict=True)
    )
    leaves = [next(tensors) if leaf is _TENSOR else leaf for leaf in layout.leaves]
    args, kwargs = pytree.tree_unflatten(leaves, layout.spec)
    return args, kwargs


def _gradient_outputs(layout: CallLayout, result: object) -> tuple[Tensor, ...]:
    tensors = [x for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
    kept = [x for x, wanted in zip(tensors, layout.differentiable, strict=True) if wanted]
    return tuple(x.squeeze(axis) for x, axis in zip(kept, layout.output_axes, strict=True))


class _Tensor:
    """Marks the place of a recorded tensor among a call's arguments."""


_TENSOR = _Tensor()
TENSOR_PLACE: object = _TENSOR
