"""The autograd graph as a list of the operations behind some outputs, in an order that its form decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Node = Any
"""A node of PyTorch's graph: one recorded operation, with the tensors it saved."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes in depth-first order from the outputs; equal programs give equal orders.

    Attributes:
        nodes: the operations, and the parameters' own nodes among them.
        place: each node's number.
        leaves: number of a parameter's node to the parameter's name.
    """

    nodes: list[Node]
    place: dict[Node, int]
    leaves: dict[int, str]

    def kinds(self) -> tuple[str, ...]:
        """What each node does; two graphs with equal kinds and inputs have one plan."""
        return tuple(type(node).__name__ for node in self.nodes)

    def inputs(self, number: int) -> list[tuple[int, int] | None]:
        """For each input of a node, the node it comes from and which of its outputs; None for data."""
        return [
            None if child is None else (self.place[child], output)
            for child, output in self.nodes[number].next_functions
        ]

    def is_coarse(self) -> bool:
        """Whether anything is computed in half precision."""
        dtypes = {m.dtype for node in self.nodes for m in node._input_metadata}  # noqa: SLF001
        return not dtypes.isdisjoint({torch.bfloat16, torch.float16})

    def shapes(self, number: int) -> list[tuple[int, ...]]:
        """Shapes of a node's outputs."""
        return [tuple(m.shape) for m in self.nodes[number]._input_metadata]  # noqa: SLF001  no public name


def walk(outputs: Sequence[Tensor], params: Mapping[str, Tensor]) -> Graph:
    """Every node from ``outputs`` down to the parameters.

    Args:
        outputs: tensors with a graph; those without one add nothing.
        params: leaf tensors, by name.
    """
    names = {id(p): name for name, p in params.items()}
    nodes: list[Node] = []
    place: dict[Node, int] = {}
    leaves: dict[int, str] = {}
    waiting = [x.grad_fn for x in reversed(outputs) if x.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node in place:
            continue
        place[node] = len(nodes)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in names:
            leaves[len(nodes)] = names[id(variable)]
        nodes.append(node)
        waiting += [child for child, _ in node.next_functions if child is not None and child not in place]
    return Graph(nodes=nodes, place=place, leaves=leaves)


def gradients(
    outputs: Sequence[Tensor],
    output_grads: Sequence[Tensor],
    graph: Graph,
    wanted: Sequence[tuple[int, int]],
    *,
    keep: bool,
) -> list[Tensor | None]:
    """Gradient at output k of node n for each (n, k) wanted, by one backward pass; None where none flows.

    Nothing behind the wanted nodes runs that is not on a path to another one, so no gradient of a
    parameter is formed.
    """
    live = [(x, g) for x, g in zip(outputs, output_grads, strict=True) if x.requires_grad]
    if not wanted or not live:
        return [None] * len(wanted)
    edges = [torch.autograd.graph.GradientEdge(graph.nodes[n], k) for n, k in wanted]
    return list(
        torch.autograd.grad(
            [x for x, _ in live],
            edges,
            [g for _, g in live],
            allow_unused=True,
            retain_graph=keep,
        )
    )
