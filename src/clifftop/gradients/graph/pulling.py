"""From values made of parameters back to the parameters: transposes, products of factors, anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from clifftop.gradients.graph.contributions import Contribution, Rows, merged
from clifftop.gradients.graph.plan import GraphPlan, Place, Value
from clifftop.gradients.graph.walk import Graph


@final
@dataclass(frozen=True)
class Reordered(Contribution):
    """A contribution to a value that holds one parameter's entries in another order: norms agree."""

    inner: Contribution
    edge: GradientEdge
    leaf: Tensor

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        return self.inner.norms()

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        return _pull(self.edge, [self.leaf], self.inner.weighted_sum(weights))[0]

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        return _pull_rows(self.edge, [self.leaf], self.inner.rows())[0]

    def without(self, drop: Tensor) -> Reordered:
        """With zeros for the marked examples."""
        return Reordered(self.inner.without(drop), self.edge, self.leaf)


def by_parameter(
    plan: GraphPlan,
    graph: Graph,
    params: Mapping[str, Tensor],
    parts: Mapping[Place, Sequence[Contribution]],
) -> dict[str, Contribution]:
    """One contribution for each parameter that any value reaches, uses and values added up."""
    values = {value.place: value for use in plan.uses for value in use.values.values()}
    reached: dict[str, int] = {}
    for place in parts:
        for name in values[place].names:
            reached[name] = reached.get(name, 0) + 1
    found: dict[str, list[Contribution]] = {}
    for place, own in parts.items():
        for name, part in _of_value(values[place], graph, params, merged(own), reached).items():
            found.setdefault(name, []).append(part)
    return {name: merged(own) for name, own in found.items()}


def _of_value(
    value: Value,
    graph: Graph,
    params: Mapping[str, Tensor],
    part: Contribution,
    reached: Mapping[str, int],
) -> dict[str, Contribution]:
    if value.transposed is not None:
        return {value.names[0]: part.transposed() if value.transposed else part}
    n, k = value.place
    edge = GradientEdge(graph.nodes[n], k)
    if value.reordered and reached[value.names[0]] == 1:
        return {value.names[0]: Reordered(part, edge, params[value.names[0]])}
    rows = _pull_rows(edge, [params[name] for name in value.names], part.rows())
    return {name: Rows(own) for name, own in zip(value.names, rows, strict=True)}


def _pull(edge: GradientEdge, leaves: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(
        [edge], list(leaves), [grad.to(_dtype_at(edge))], retain_graph=True, allow_unused=True
    )
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]


def _pull_rows(edge: GradientEdge, leaves: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
    """Each row pulled back, one backward pass of this small part of the graph for each."""
    found = [_pull(edge, leaves, row) for row in rows]
    return [torch.stack([row[i] for row in found]) for i in range(len(leaves))]


def _dtype_at(edge: GradientEdge) -> torch.dtype:
    return edge.node._input_metadata[edge.output_nr].dtype  # noqa: SLF001  no public name
