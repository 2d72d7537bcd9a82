"""What each operation of PyTorch's graph does with a parameter that enters it: one rule a kind of node.

A rule reads the tensors that the node saved for its own backward pass and the gradient at the node's
output, and gives the contribution of each input that is made of parameters alone. Names of saved
tensors are PyTorch's own, pinned by tests; an operation without a rule is differentiated by masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.operations import convolution, elementwise, lookups, normalisation, products
from clifftop.gradients.graph.operations.base import Finish, Grads, Rule, Use
from clifftop.gradients.graph.operations.masks import by_masks


def rule_for(kind: str, values: Sequence[int], layout: Layout | None) -> Rule:
    """The rule for a kind of node whose inputs ``values`` are made of parameters alone."""
    for name, inputs, rule, suits in _RULES:
        if name == kind and inputs.issuperset(values) and layout is not None and suits(layout):
            return rule
    return by_masks


def _anywhere(layout: Layout) -> bool:
    del layout
    return True


def _on_axis(axis: int) -> Callable[[Layout], bool]:
    """Products: the examples lie on the axis that only the data has."""
    return lambda layout: layout.axis == axis


def _alone_in_front(layout: Layout) -> bool:
    return layout == Layout(axis=0, before=1, after=1)


_RULES: tuple[tuple[str, frozenset[int], Rule, Callable[[Layout], bool]], ...] = (
    ("AddmmBackward0", frozenset({0, 1}), products.addmm, _on_axis(1)),
    ("AddmmBackward0", frozenset({0, 2}), products.addmm, _on_axis(0)),
    ("MmBackward0", frozenset({0}), products.mm, _on_axis(1)),
    ("MmBackward0", frozenset({1}), products.mm, _on_axis(0)),
    ("BmmBackward0", frozenset({0}), products.bmm, _on_axis(2)),
    ("BmmBackward0", frozenset({1}), products.bmm, _on_axis(1)),
    ("ConvolutionBackward0", frozenset({1, 2}), convolution.convolution, _on_axis(0)),
    ("EmbeddingBackward0", frozenset({0}), lookups.embedding, _anywhere),
    ("EmbeddingBagBackward0", frozenset({0}), lookups.embedding_bag, _on_axis(0)),
    ("IndexBackward0", frozenset({0}), lookups.index, _anywhere),
    ("IndexSelectBackward0", frozenset({0}), lookups.index_select, _on_axis(0)),
    ("NativeLayerNormBackward0", frozenset({1, 2}), normalisation.layer_norm, _anywhere),
    ("NativeGroupNormBackward0", frozenset({1, 2}), normalisation.group_norm, _alone_in_front),
    ("AddBackward0", frozenset({0}), elementwise.add, _anywhere),
    ("AddBackward0", frozenset({1}), elementwise.add, _anywhere),
    ("SubBackward0", frozenset({0}), elementwise.sub, _anywhere),
    ("SubBackward0", frozenset({1}), elementwise.sub, _anywhere),
    ("MulBackward0", frozenset({0}), elementwise.mul, _anywhere),
    ("MulBackward0", frozenset({1}), elementwise.mul, _anywhere),
    ("ExpandBackward0", frozenset({0}), elementwise.spread, _anywhere),
)

REDUCING: frozenset[Rule] = frozenset(
    (
        normalisation.layer_norm,
        normalisation.group_norm,
        elementwise.add,
        elementwise.sub,
        elementwise.mul,
        elementwise.spread,
    )
)
"""Rules whose contributions are sums: small next to what they are made from."""

__all__ = ["REDUCING", "Finish", "Grads", "Rule", "Use", "by_masks", "rule_for"]
