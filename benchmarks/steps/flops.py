"""Floating-point operations of whatever runs, by torch's own counter with what it lacks on a CPU."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]


def counting() -> FlopCounterMode:
    """A context that counts; ``get_total_flops()`` tells."""
    aten = torch.ops.aten
    formulas = {
        aten.convolution_backward: convolution_backward_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,  # noqa: SLF001 - its only name
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,  # noqa: SLF001
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        formulas[torch.ops.mkldnn._linear_pointwise] = linear_flops  # noqa: SLF001 - its only name
    return FlopCounterMode(display=False, custom_mapping=formulas)


def linear_flops(left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    """Rows of one by rows of the other.

    >>> linear_flops((4, 3), (5, 3))
    120
    """
    return 2 * math.prod(left) * right[0]


def attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Two products of every query with every key; a causal mask saves nothing here."""
    return sdpa_flop_count(query, key, value)


def attention_backward_flops(grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Five such products, one of them done again."""
    return sdpa_backward_flop_count(grad, query, key, value)


def convolution_backward_flops(
    grad_shape: Shape,
    input_shape: Shape,
    weight_shape: Shape,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: Any,
    output_padding: Any,
    groups: Any,
    output_mask: list[bool],
    **kwargs: Any,
) -> int:
    """Each of the two gradients costs what the forward pass did; torch's formula forgets the groups.

    >>> convolution_backward_flops(
    ...     (2, 4, 5, 5), (2, 4, 5, 5), (4, 1, 3, 3), *[None] * 4, False, None, 4, [True] * 3
    ... )
    7200
    """
    del bias, stride, padding, dilation, output_padding, groups, kwargs
    places = math.prod((input_shape if transposed else grad_shape)[2:])
    once = 2 * grad_shape[0] * places * math.prod(weight_shape)
    return once * sum(output_mask[:2])
