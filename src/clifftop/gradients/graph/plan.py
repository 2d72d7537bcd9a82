"""What a graph's plan is: which operations take parameters, where the examples lie, how uses add up.

Found once for a model's form, by running it on two and on three examples. What depends on the number
of examples is data; the rest is made of parameters alone. An operation on data with an input of the
second kind is a *use*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from clifftop.gradients.graph.layout import Layout, find_layout, fits
from clifftop.gradients.graph.operations import REDUCING, Rule, Use, by_masks, rule_for
from clifftop.gradients.graph.refusals import GraphUnsuited
from clifftop.gradients.graph.walk import Graph

Place = tuple[int, int]
"""A node's number, and one of its outputs."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor made of parameters alone, as it enters operations on data.

    Attributes:
        place: where it is made.
        shape: its shape.
        names: the parameters that it is made of.
        transposed: it is the one parameter, with its two axes exchanged or not; None where it is
            made in any other way.
        reordered: it holds the one parameter's entries in another order or shape, each once.
    """

    place: Place
    shape: tuple[int, ...]
    names: tuple[str, ...]
    transposed: bool | None
    reordered: bool


@dataclass(frozen=True, kw_only=True)
class UsePlan:
    """One use: the node, the layout of each of its outputs, which input is which value, and the rule.

    With ``early`` its rule runs within the backward pass, when the node's turn comes, and what it is made
    from need not be held until the end.
    """

    number: int
    layouts: tuple[Layout | None, ...]
    values: Mapping[int, Value]
    rule: Rule
    early: bool = False


@dataclass(frozen=True, kw_only=True)
class GraphPlan:
    """The plan of every graph with these kinds of nodes."""

    kinds: tuple[str, ...]
    uses: tuple[UsePlan, ...]

    @property
    def needs_graph(self) -> bool:
        """Whether the graph is needed after the backward pass."""
        pulled = any(v.transposed is None for use in self.uses for v in use.values.values())
        return pulled or self.has_masks

    @property
    def has_masks(self) -> bool:
        """Whether an operation is differentiated by masks, which needs finite numbers."""
        return any(use.rule is by_masks for use in self.uses)


_REORDERING = {
    "TBackward0", "TransposeBackward0", "TransposeBackward1", "PermuteBackward0", "ViewBackward0",
    "UnsafeViewBackward0", "ReshapeAliasBackward0", "UnsqueezeBackward0", "UnsqueezeBackward1",
    "SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2", "AliasBackward0", "CloneBackward0",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Two graphs of one program, and gradients that tell examples apart.

    Attributes:
        two: the graph for two examples.
        three: for three.
        weights: ``(3,)`` the examples' weights in the second of the backward passes below.
    """

    two: Graph
    three: Graph
    weights: Tensor


def find_uses(probe: Probe) -> tuple[dict[int, dict[int, Place]], list[Place]]:
    """Uses as node number to input number to place, and the outputs whose gradients they need."""
    graph = probe.three
    if probe.two.kinds() != graph.kinds():
        raise GraphUnsuited("the model must do the same for any number of examples, found that it does not")
    inputs = [graph.inputs(n) for n in range(len(graph.nodes))]
    if inputs != [probe.two.inputs(n) for n in range(len(graph.nodes))]:
        raise GraphUnsuited("the model must do the same for any number of examples, found that it does not")
    data = _data_nodes(probe, inputs)
    uses: dict[int, dict[int, Place]] = {}
    for n, sources in enumerate(inputs):
        if data[n]:
            own = {i: source for i, source in enumerate(sources) if source and not data[source[0]]}
            if own := {i: s for i, s in own.items() if _parameters(graph, inputs, s[0])}:
                uses[n] = own
    outputs = [(n, k) for n in uses for k in range(len(graph.shapes(n)))]
    return uses, outputs


def _data_nodes(probe: Probe, inputs: Sequence[Sequence[Place | None]]) -> list[bool]:
    """Whether each node's outputs depend on the examples."""
    count = len(inputs)
    data = [probe.two.shapes(n) != probe.three.shapes(n) for n in range(count)]
    changed = True
    while changed:
        changed = False
        for n in reversed(range(count)):
            if not data[n] and any(s is not None and data[s[0]] for s in inputs[n]):
                data[n] = changed = True
    return data


def _parameters(graph: Graph, inputs: Sequence[Sequence[Place | None]], number: int) -> tuple[str, ...]:
    """The parameters behind a node, in order."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    waiting = [number]
    while waiting:
        n = waiting.pop()
        if n in seen:
            continue
        seen.add(n)
        if n in graph.leaves:
            found[graph.leaves[n]] = None
        waiting += [s[0] for s in inputs[n] if s is not None]
    return tuple(found)


def make_plan(
    probe: Probe,
    uses: Mapping[int, Mapping[int, Place]],
    outputs: Sequence[Place],
    plain: Sequence[Tensor | None],
    weighted: Sequence[Tensor | None],
) -> GraphPlan:
    """The plan, from the gradients at ``outputs`` without and with the examples' weights.

    Raises:
        GraphUnsuited: a gradient does not part by examples as the shapes say.
    """
    graph = probe.three
    inputs = [graph.inputs(n) for n in range(len(graph.nodes))]
    found: dict[int, dict[int, Layout | None]] = {n: {} for n in uses}
    for (n, k), a, b in zip(outputs, plain, weighted, strict=True):
        found[n][k] = None
        if a is not None and b is not None:
            found[n][k] = _layout(probe, (n, k), a, b)
    plans: list[UsePlan] = []
    for n, own in uses.items():
        layouts = tuple(found[n][k] for k in range(len(graph.shapes(n))))
        if not any(layouts):
            continue
        values = {i: _value(graph, inputs, place) for i, place in own.items()}
        kind = type(graph.nodes[n]).__name__
        rule = _readable(rule_for(kind, tuple(values), layouts[0]), graph, n, layouts, values)
        plans.append(UsePlan(number=n, layouts=layouts, values=values, rule=rule))
    return GraphPlan(kinds=graph.kinds(), uses=_early_where_run(plans, inputs))


def _early_where_run(
    plans: Sequence[UsePlan], inputs: Sequence[Sequence[Place | None]]
) -> tuple[UsePlan, ...]:
    """The uses, those early whose rule only adds up and whose node runs: a later use's gradient needs it."""
    needed = {use.number for use in plans if use.rule not in REDUCING}
    leads = [False] * len(inputs)
    changed = True
    while changed:
        changed = False
        for n in reversed(range(len(inputs))):
            if not leads[n] and any(s is not None and (s[0] in needed or leads[s[0]]) for s in inputs[n]):
                leads[n] = changed = True
    return tuple(replace(use, early=use.rule in REDUCING and leads[use.number]) for use in plans)


def _readable(
    rule: Rule, graph: Graph, number: int, layouts: tuple[Layout | None, ...], values: Mapping[int, Value]
) -> Rule:
    """The rule, if the node has saved what it reads; names of saved tensors are not promised by PyTorch."""
    shapes = {i: value.shape for i, value in values.items()}
    try:
        rule(Use(node=graph.nodes[number], size=3, layouts=layouts, values=shapes))
    except AttributeError:
        return by_masks
    return rule


def require_layouts(
    plan: GraphPlan,
    outputs: Sequence[Place],
    plain: Sequence[Tensor | None],
    weighted: Sequence[Tensor | None],
    weights: Tensor,
) -> None:
    """Require that gradients for other examples part by examples as the plan says.

    Raises:
        GraphUnsuited: they do not; the order of examples depends on their values, for one.
    """
    expected = {(use.number, k): layout for use in plan.uses for k, layout in enumerate(use.layouts)}
    for place, a, b in zip(outputs, plain, weighted, strict=True):
        layout = expected.get(place)
        if layout is not None and a is not None and b is not None and not fits(layout, a, b, weights):
            raise GraphUnsuited("examples must lie in one order at every step, found that it depends on them")


def _layout(probe: Probe, place: Place, plain: Tensor, weighted: Tensor) -> Layout | None:
    n, k = place
    two, three = probe.two.shapes(n)[k], probe.three.shapes(n)[k]
    layout = find_layout(two, three, plain, weighted, probe.weights)
    if layout is None:
        raise GraphUnsuited(
            "each example must have its own part of every gradient, found none at "
            f"{type(probe.three.nodes[n]).__name__} with shape {three} for three examples"
        )
    return layout


def _value(graph: Graph, inputs: Sequence[Sequence[Place | None]], place: Place) -> Value:
    n, k = place
    names = _parameters(graph, inputs, n)
    transposed: bool | None = False
    reordered = True
    at = n
    while at not in graph.leaves:
        kind = type(graph.nodes[at]).__name__
        transposed = not transposed if kind == "TBackward0" and transposed is not None else None
        reordered &= kind in _REORDERING
        sources = [s for s in inputs[at] if s is not None]
        if len(sources) != 1:
            transposed, reordered = None, False
            break
        at = sources[0][0]
    return Value(
        place=place, shape=graph.shapes(n)[k], names=names, transposed=transposed, reordered=reordered
    )
