"""What each operation of PyTorch's graph does with a parameter that enters it: one function a kind of node.

A rule reads the tensors that the node saved for its own backward pass and the gradient at the node's
output, and gives the contribution of each input that is made of parameters alone. Names of saved
tensors are PyTorch's own, pinned by tests; where one is missing the general rule (`by_masks`) serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clifftop.gradients.graph.contributions import Contribution, Gather, Outer, Patches, Rows
from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.refusals import GraphUnsuited
from clifftop.gradients.graph.walk import Node
from clifftop.gradients.rules import patches


@dataclass(frozen=True, kw_only=True)
class Use:
    """One operation that takes values made of parameters alone, and the gradient at its output.

    Attributes:
        node: the operation; its saved tensors are read before the backward pass frees them.
        size: B.
        layouts: where the examples lie in each output; None for one that no gradient reaches.
        values: input number of each such value, to its shape.
    """

    node: Node
    size: int
    layouts: tuple[Layout | None, ...]
    values: dict[int, tuple[int, ...]]

    @property
    def layout(self) -> Layout:
        """Where the examples lie in the first output."""
        layout = self.layouts[0]
        assert layout is not None
        return layout


class Poisoned(ArithmeticError):
    """One example's NaN may have reached others: this batch needs an engine that keeps examples apart."""


Grads = Sequence[Tensor | None]
"""Gradient at each output of a node."""

Finish = Callable[[Grads], dict[int, Contribution]]
"""Turns the gradients at a node's outputs into the contribution of each value, by input number."""

Rule = Callable[[Use], Finish]
"""Reads what the node saved, and says what to do with the gradients."""


def rule_for(kind: str, values: Sequence[int], layout: Layout | None) -> Rule:
    """The rule for a kind of node whose inputs ``values`` are made of parameters alone."""
    for name, inputs, rule, suits in _RULES:
        if name == kind and inputs.issuperset(values) and layout is not None and suits(layout):
            return rule
    return by_masks


def by_masks(use: Use) -> Finish:
    """Any operation: its own backward for one example's part of the gradient at a time.

    Exact because a backward pass is linear, and slow: B times the operation's cost.

    Raises:
        Poisoned: a number is not finite, and 0 times it may have reached another example's gradient.
    """

    def finish(grads: Grads) -> dict[int, Contribution]:
        parts: dict[int, list[Tensor]] = {i: [] for i in use.values}
        for b in range(use.size):
            masked = [_masked(g, layout, b, use.size) for g, layout in zip(grads, use.layouts, strict=True)]
            results = use.node(*masked)
            results = results if isinstance(results, tuple) else (results,)
            for i, shape in use.values.items():
                grad = results[i]
                like = next(g for g in grads if g is not None)
                parts[i].append(like.new_zeros(shape) if grad is None else _dense(grad).sum_to_size(shape))
        found = {i: Rows(torch.stack(rows)) for i, rows in parts.items()}
        if not all(torch.isfinite(rows.values).all() for rows in found.values()):
            raise Poisoned("a gradient is not finite")
        return found

    return finish


def _masked(g: Tensor | None, layout: Layout | None, b: int, size: int) -> Tensor | None:
    """``g`` with 0 for every example but ``b``."""
    if g is None or layout is None:
        return None
    one = torch.arange(size, device=g.device) == b
    return torch.where(layout.per_element(one, g.dim()), g, 0)


def _dense(x: Tensor) -> Tensor:
    return x.to_dense() if x.is_sparse else x


# ------------------------------------------------------------------ products of matrices


def _addmm(use: Use) -> Finish:
    node = use.node
    alpha, beta = node._saved_alpha, node._saved_beta
    product = _product(use, node, 1, 2, ("_saved_mat1", "_saved_mat2"))

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = _only(grads)
        found = product(g if alpha == 1 else g * alpha)
        if 0 in use.values:
            found[0] = Rows(_reduced(g if beta == 1 else g * beta, use, use.values[0]))
        return found

    return finish


def _mm(use: Use) -> Finish:
    product = _product(use, use.node, 0, 1, ("_saved_self", "_saved_mat2"))
    return lambda grads: product(_only(grads))


def _product(
    use: Use, node: Node, left: int, right: int, saved: tuple[str, str]
) -> Callable[[Tensor], dict[int, Contribution]]:
    """Matrix times matrix, or a stack of them, one of the two a value."""
    values = [i for i in (left, right) if i in use.values]
    if not values:
        return lambda _: {}
    (value,) = values
    on_left = value == left
    data = getattr(node, saved[1] if on_left else saved[0])
    stacked = data.dim() == 3
    def finish(g: Tensor) -> dict[int, Contribution]:
        a = data
        if on_left:
            a, g = a.mT, g.mT
        layout = Layout(axis=a.dim() - 2, before=use.layout.before, after=use.layout.after)
        operands = [_positions_last(x, layout, use.size, stacked=stacked) for x in (a, g)]
        part = Outer(*operands)
        return {value: part.transposed() if on_left else part}

    return finish


def _positions_last(x: Tensor, layout: Layout, size: int, *, stacked: bool) -> Tensor:
    """``(B, ..., T, d)`` from ``(..., before * B * after, d)``; no T for one position."""
    first = layout.examples_first(x, size)
    if stacked and not layout.merged:
        return first.unsqueeze(-2)
    return first


def _bmm(use: Use) -> Finish:
    product = _product(use, use.node, 0, 1, ("_saved_self", "_saved_mat2"))
    return lambda grads: product(_only(grads))


# ------------------------------------------------------------------ convolution, tables


def _convolution(use: Use) -> Finish:
    node, layout, size = use.node, use.layout, use.size
    x = node._saved_input
    shape = None
    if 1 in use.values:
        shape = patches.Shape(
            weight=use.values[1],
            stride=tuple(node._saved_stride),
            padding=tuple(node._saved_padding),
            dilation=tuple(node._saved_dilation),
            output_padding=tuple(node._saved_output_padding),
            groups=node._saved_groups,
            transposed=node._saved_transposed,
        )

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = _only(grads)
        found: dict[int, Contribution] = {}
        if shape is not None:
            found[1] = Patches(*(layout.examples_first(t, size) for t in (x, g)), shape)
        if 2 in use.values:
            bias = layout.examples_first(g.flatten(2).sum(2), size)
            found[2] = Rows(bias.sum(1) if layout.merged else bias)
        return found

    return finish


def _embedding(use: Use) -> Finish:
    node = use.node
    if node._saved_scale_grad_by_freq:
        raise GraphUnsuited("an embedding must not scale gradients by frequency in the batch, found one that does")
    indices, padding = node._saved_indices, node._saved_padding_idx
    (rows, width) = use.values[0]

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = use.layout.examples_first(_only(grads), use.size).reshape(use.size, -1, width)
        places = use.layout.examples_first(indices, use.size).reshape(use.size, -1)
        if 0 <= padding < rows:
            g = torch.where((places == padding)[..., None], 0, g)
        return {0: Gather(places, g, rows)}

    return finish


# ------------------------------------------------------------------ normalisation


def _layer_norm(use: Use) -> Finish:
    node = use.node
    x, mean, rstd = node._saved_input, node._saved_result1, node._saved_result2

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = _only(grads)
        found: dict[int, Contribution] = {}
        if 1 in use.values:
            # Statistics are kept in float32 where the input is half precision.
            found[1] = Rows(_reduced(g * ((x - mean) * rstd), use, use.values[1]))
        if 2 in use.values:
            found[2] = Rows(_reduced(g, use, use.values[2]))
        return found

    return finish


def _group_norm(use: Use) -> Finish:
    node = use.node
    x, mean, rstd = node._saved_input, node._saved_result1, node._saved_result2
    channels, inner, groups = node._saved_C, node._saved_HxW, node._saved_group

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = _only(grads)
        size = use.size
        # Each example's channels as channels of one example: PyTorch's kernel then keeps examples apart.
        _, scale, shift = torch.ops.aten.native_group_norm_backward(
            g.contiguous().view(1, size * channels, inner),
            x.contiguous().view(1, size * channels, inner),
            mean.view(1, -1),
            rstd.view(1, -1),
            # Read for the input's gradient only, but it must be there.
            mean.new_ones(size * channels),
            1,
            size * channels,
            inner,
            size * groups,
            [False, True, True],
        )
        found = {1: scale, 2: shift}
        return {i: Rows(found[i].view(size, channels)) for i in use.values}

    return finish


# ------------------------------------------------------------------ element by element


def _add(use: Use) -> Finish:
    alpha = use.node._saved_alpha

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = _only(grads)
        return {
            i: Rows(_reduced(g if i == 0 or alpha == 1 else g * alpha, use, shape))
            for i, shape in use.values.items()
        }

    return finish


def _sub(use: Use) -> Finish:
    alpha = use.node._saved_alpha

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = _only(grads)
        return {i: Rows(_reduced(g if i == 0 else g * -alpha, use, s)) for i, s in use.values.items()}

    return finish


def _mul(use: Use) -> Finish:
    (value,) = use.values
    other = use.node._saved_other if value == 0 else use.node._saved_self
    shape = use.values[value]
    return lambda grads: {value: Rows(_reduced(_only(grads) * other.conj(), use, shape))}


def _spread(use: Use) -> Finish:
    """``expand``: the gradient of a copy is its own."""
    shape = use.values[0]
    return lambda grads: {0: Rows(_reduced(_only(grads), use, shape))}


def _reduced(full: Tensor, use: Use, shape: tuple[int, ...]) -> Tensor:
    """``(B, *shape)``: each example's part of ``full`` summed over the axes that ``shape`` broadcast to."""
    split = use.layout.split(full, use.size)
    axis = use.layout.axis
    padded = (*[1] * (full.dim() - len(shape)), *shape)
    padded = (*padded[:axis], padded[axis], 1, 1, *padded[axis + 1 :]) if axis < full.dim() else padded
    # The examples' axis itself is kept; "before" and "after" and broadcast axes are added up.
    drop = [
        i
        for i, (have, want) in enumerate(zip(split.shape, padded, strict=True))
        if i != axis + 1 and want == 1 and have != 1
    ]
    summed = split.sum(drop, keepdim=True) if drop else split
    return summed.movedim(axis + 1, 0).reshape(use.size, *shape)


def _only(grads: Grads) -> Tensor:
    found = grads[0]
    assert found is not None
    return found


def _anywhere(layout: Layout) -> bool:
    del layout
    return True


def _on_axis(axis: int) -> Callable[[Layout], bool]:
    """Products: the examples lie on the axis that only the data has."""
    return lambda layout: layout.axis == axis


def _alone_in_front(layout: Layout) -> bool:
    return layout == Layout(axis=0, before=1, after=1)


_RULES: tuple[tuple[str, frozenset[int], Rule, Callable[[Layout], bool]], ...] = (
    ("AddmmBackward0", frozenset({0, 1}), _addmm, _on_axis(1)),
    ("AddmmBackward0", frozenset({0, 2}), _addmm, _on_axis(0)),
    ("MmBackward0", frozenset({0}), _mm, _on_axis(1)),
    ("MmBackward0", frozenset({1}), _mm, _on_axis(0)),
    ("BmmBackward0", frozenset({0}), _bmm, _on_axis(2)),
    ("BmmBackward0", frozenset({1}), _bmm, _on_axis(1)),
    ("ConvolutionBackward0", frozenset({1, 2}), _convolution, _on_axis(0)),
    ("EmbeddingBackward0", frozenset({0}), _embedding, _anywhere),
    ("NativeLayerNormBackward0", frozenset({1, 2}), _layer_norm, _anywhere),
    ("NativeGroupNormBackward0", frozenset({1, 2}), _group_norm, _alone_in_front),
    ("AddBackward0", frozenset({0}), _add, _anywhere),
    ("AddBackward0", frozenset({1}), _add, _anywhere),
    ("SubBackward0", frozenset({0}), _sub, _anywhere),
    ("SubBackward0", frozenset({1}), _sub, _anywhere),
    ("MulBackward0", frozenset({0}), _mul, _anywhere),
    ("MulBackward0", frozenset({1}), _mul, _anywhere),
    ("ExpandBackward0", frozenset({0}), _spread, _anywhere),
)
