"""One backward pass to the outputs of all uses; their rules turn what they saved into contributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from clifftop.gradients.graph.contributions import Contribution
from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.operations import Finish, Use
from clifftop.gradients.graph.plan import GraphPlan, Place, UsePlan
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
    finishes: dict[int, Finish] = {}
    done: dict[int, dict[int, Contribution]] = {}
    hooks: list[RemovableHandle] = []
    for use in plan.uses:
        # As they are now: a table that is handed over in part has other rows at each step.
        places = {i: value.place for i, value in use.values.items()}
        shapes = {i: graph.shapes(n)[k] for i, (n, k) in places.items()}
        node = graph.nodes[use.number]
        # Read now: the backward pass frees what nodes have saved.
        finish = use.rule(Use(node=node, size=size, layouts=use.layouts, values=shapes))
        if use.early:
            hooks.append(node.register_prehook(_running(use, finish, size, done)))
        else:
            finishes[use.number] = finish
    late = [use for use in plan.uses if not use.early]
    wanted = [(use.number, k) for use in late for k, layout in enumerate(use.layouts) if layout]
    try:
        grads = gradients(outputs, output_grads, graph, wanted, keep=keep_graph or plan.needs_graph)
    finally:
        for hook in hooks:
            hook.remove()
    found = dict(zip(wanted, grads, strict=True))
    for use in late:
        own = tuple(found.get((use.number, k)) for k in range(len(use.layouts)))
        _running(use, finishes[use.number], size, done)(own)
    parts: dict[Place, list[Contribution]] = {}
    for use in plan.uses:
        for i, part in done.get(use.number, {}).items():
            parts.setdefault(use.values[i].place, []).append(part)
    return by_parameter(plan, graph, params, parts)


def _running(
    use: UsePlan, finish: Finish, size: int, done: dict[int, dict[int, Contribution]]
) -> Callable[[tuple[Tensor | None, ...]], None]:
    """Runs the use's rule when its gradients come, and then lets go of what it read."""
    once = [finish]

    def run(grads: tuple[Tensor | None, ...]) -> None:
        finish = once.pop()
        if any(g is not None for g in grads):
            _require_shapes(use.layouts, grads, size)
            with torch.no_grad():
                done[use.number] = finish(grads)

    return run


def _require_shapes(layouts: Sequence[Layout | None], grads: Sequence[Tensor | None], size: int) -> None:
    for layout, g in zip(layouts, grads, strict=True):
        if g is not None and (layout is None or g.shape[layout.axis] != layout.before * size * layout.after):
            raise GraphUnsuited(
                "every example must have its place at every step, found a shape that values decide"
            )
