"""One backward pass to the outputs of all uses; their rules turn what they saved into contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from clifftop.gradients.graph.contributions import Contribution
from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.operations import Use
from clifftop.gradients.graph.plan import GraphPlan, Place
from clifftop.gradients.graph.pulling import by_parameter
from clifftop.gradients.graph.refusals import GraphUnsuited
from clifftop.gradients.graph.walk import Graph, gradients


def contributions(
    plan: GraphPlan,
    graph: Graph,
    outputs: Sequence[Tensor],
    output_grads: Sequence[Tensor],
    params: Mapping[str, Tensor],
    size: int,
    *,
    keep_graph: bool = False,
) -> dict[str, Contribution]:
    """The contribution of every parameter that ``outputs`` depend on.

    Args:
        plan: of this graph.
        graph: of ``outputs``.
        outputs: what the examples' losses depend on; the losses themselves, most often.
        output_grads: gradient of each example's own loss at them.
        params: leaf tensors, by name.
        size: B.
        keep_graph: whether the caller goes on using the graph.
    """
    finishes = []
    for use in plan.uses:
        # As they are now: a table that is handed over in part has other rows at each step.
        places = {i: value.place for i, value in use.values.items()}
        shapes = {i: graph.shapes(n)[k] for i, (n, k) in places.items()}
        # Read now: the backward pass frees what nodes have saved.
        finishes.append(
            use.rule(Use(node=graph.nodes[use.number], size=size, layouts=use.layouts, values=shapes))
        )
    wanted = [(use.number, k) for use in plan.uses for k, layout in enumerate(use.layouts) if layout]
    found = dict(
        zip(
            wanted,
            gradients(outputs, output_grads, graph, wanted, keep=keep_graph or plan.needs_graph),
            strict=True,
        )
    )
    parts: dict[Place, list[Contribution]] = {}
    for use, finish in zip(plan.uses, finishes, strict=True):
        grads = [found.get((use.number, k)) for k in range(len(use.layouts))]
        if all(g is None for g in grads):
            continue
        _require_shapes(use.layouts, grads, size)
        for i, part in finish(grads).items():
            parts.setdefault(use.values[i].place, []).append(part)
    return by_parameter(plan, graph, params, parts)


def _require_shapes(layouts: Sequence[Layout | None], grads: Sequence[Tensor | None], size: int) -> None:
    for layout, g in zip(layouts, grads, strict=True):
        if g is not None and (layout is None or g.shape[layout.axis] != layout.before * size * layout.after):
            raise GraphUnsuited(
                "every example must have its place at every step, found a shape that values decide"
            )
