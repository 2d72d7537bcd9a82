"""By which rule an engine gives each parameter's gradient, as its own words for the report."""

from __future__ import annotations

from clifftop.checks.subject import Subject
from clifftop.gradients import GradientEngine, TapeEngine
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.trace import find_leaves


def rules_of(subject: Subject, engine: GradientEngine) -> dict[str, str]:
    """Parameter name to the engine and its rule; nothing for engines that have no rules.

    For a model that an engine has run on.
    """
    if isinstance(engine, TapeEngine):
        rules = _of_layers(subject)
    elif isinstance(engine, GraphEngine):
        rules = _of_operations(subject, engine)
    else:
        return {}
    return {name: f"{type(engine).__name__}: {', '.join(found)}" for name, found in rules.items()}


def _of_layers(subject: Subject) -> dict[str, list[str]]:
    return {
        name: [type(leaf.rule).__name__]
        for leaf in find_leaves(subject.loss.module)
        for name in leaf.names.values()
    }


def _of_operations(subject: Subject, engine: GraphEngine) -> dict[str, list[str]]:
    """Each rule once, in the order in which the graph is walked: from the loss to the inputs."""
    params = {name: p[None] for name, p in subject.params.items()}
    plan = engine.study(subject.loss, params, subject.rows.batch()).plan
    found: dict[str, list[str]] = {}
    for use in () if plan is None else plan.uses:
        for value in use.values.values():
            for name in value.names:
                rules = found.setdefault(name, [])
                if use.rule.__name__ not in rules:
                    rules.append(use.rule.__name__)
    return found
