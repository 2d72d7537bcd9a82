"""Whether the settings of a sweep describe one; each in the type that it is used in."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clifftop.events import NeighboringRelation
from clifftop.lab.spec import Factory, Options, SpecError
from clifftop.lab.sweep.axes import Axes
from clifftop.lab.sweep.choices import Release, SharingMode
from clifftop.lab.sweep.errors import SweepFault, factory_key, nearest
from clifftop.lab.sweep.knobs import KNOBS, PARTS, SAMPLERS, Anything, Kind, OneOf, Real, Refused, Whole
from clifftop.lab.sweep.search import Search
from clifftop.vocabulary import is_part, smaller_is_better

Given = dict[str, Any]
"""Settings by name, as they were given."""

KINDS: Mapping[str, Kind] = {
    **KNOBS,
    "delta": Real(below=1.0),
    "sampler": OneOf(names=SAMPLERS),
    "evaluate_every": Whole(low=1),
    "evaluate_every_epochs": Real(),
}
ENUMERATIONS: Mapping[str, type[enum.Enum]] = {
    "neighboring_relation": NeighboringRelation,
    "sharing": SharingMode,
    "release": Release,
}
SWITCHES = ("baselines", "counterfactuals", "per_layer", "public", "secret_seeds", "maximize")

_BESIDE = ("baselines", "counterfactuals", "original_model")

_EXACTLY_ONE = (
    ("expected_batch_size",),
    ("epochs", "steps"),
    ("target_epsilon", "noise_multiplier"),
    ("clip_norm",),
    ("lr",),
)
_AT_MOST_ONE = (("evaluate_every", "evaluate_every_epochs"), ("seed",), ("clipping",), ("optimizer",))
_RELATIONS = {
    "poisson": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "fixed-order": NeighboringRelation.ZERO_OUT,
}


def checked(given: Given) -> Given:
    """The settings, each in its own type, with the defaults that depend on others filled in.

    Raises:
        SweepFault: a setting that cannot be.
    """
    found = dict(given)
    found["name"] = _name(found["name"])
    for name, kind in KINDS.items():
        if found[name] is not None or name in ("delta", "sampler"):
            found[name] = _accepted(name, kind.accept, found[name])
    for name, enumeration in ENUMERATIONS.items():
        if found[name] is not None:
            found[name] = _member(name, enumeration, found[name])
    for name in SWITCHES:
        if not isinstance(found[name], bool) and not (name == "maximize" and found[name] is None):
            raise SweepFault(name, f"must be true or false, found {found[name]!r}; write true or false")
    for name in ("model", "data", "criterion"):
        found[name] = _factory(name, found[name])
    if found["original_model"] is not None:
        found["original_model"] = _factory("original_model", found["original_model"])
    found["metrics"] = _metrics(found["metrics"])
    found["optimizer_options"] = _optimizer_options(found["optimizer_options"])
    found["axes"] = _axes(found["axes"])
    _check_given_once(found)
    _check_relation(found)
    _check_release(found)
    _check_pairs(found)
    if not isinstance(found["search"], Search):
        raise SweepFault(
            "search", f"must be a search, found {found['search']!r}; use Grid, Random, Sobol or Optuna"
        )
    found["search"].check(found["axes"], public=found["public"])
    return found | _goal(found)


def _name(name: object) -> str:
    if not (isinstance(name, str) and name.strip() and name.isprintable() and "/" not in name):
        raise SweepFault("name", f"must be a name without '/', found {name!r}; give the sweep a short name")
    return name


def _accepted(name: str, accept: Callable[[object], Any], value: object) -> Any:
    try:
        return accept(value)
    except Refused as refused:
        raise SweepFault(name, str(refused)) from None


def _member(name: str, enumeration: type[enum.Enum], value: object) -> enum.Enum:
    if isinstance(value, enumeration):
        return value
    named = {str(member.value): member for member in enumeration}
    text = str(value)
    if text not in named:
        raise SweepFault(
            name, f"must be one of {', '.join(named)}, found {value!r}; choose one{nearest(text, named)}"
        )
    return named[text]


def _factory(name: str, value: object) -> Factory:
    key = factory_key(name, str(value))
    if isinstance(value, Factory):
        made = value
    elif isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("factory"), str)):
        table: Mapping[str, Any] = {"factory": value} if isinstance(value, str) else value
        options = {option: content for option, content in table.items() if option != "factory"}
        try:
            made = Factory(target=table["factory"], options=options)
        except SpecError as error:
            raise SweepFault(
                key, f"{error}; write the module, a colon and the name of the callable in it"
            ) from None
    else:
        raise SweepFault(
            key,
            f"must be a factory, found {value!r}; write 'module:callable', or Factory(target=, options=)",
        )
    for option, content in made.options.items():
        if not isinstance(content, tuple):
            _accepted(f"{name}.{option}", Anything().accept, content)
    return made


def _metrics(value: object) -> tuple[Factory, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SweepFault(
            "metrics", f"must be a list of factories, found {value!r}; write ['module:callable']"
        )
    items: Sequence[object] = value
    made = tuple(_factory("metrics", item) for item in items)
    names = ["loss", *metric_names(made)]
    for name in names:
        if names.count(name) > 1:
            raise SweepFault(
                "metrics",
                f"must have names of their own, other than loss, found {name!r} twice; remove or rename one",
            )
    return made


def metric_names(metrics: tuple[Factory, ...]) -> tuple[str, ...]:
    """The names under which metrics are recorded."""
    return tuple(metric.target.rpartition(":")[2].rpartition(".")[2] for metric in metrics)


def _optimizer_options(value: object) -> Options:
    if not isinstance(value, Mapping):
        raise SweepFault("optimizer_options", f"must be a table of settings, found {value!r}; write one")
    for name, content in value.items():
        if name == "lr":
            raise SweepFault("optimizer.lr", "must be set as lr, found it among the options; move it")
        _accepted(f"optimizer.{name}", Anything().accept, content)
    return Options(value)


def _axes(value: object) -> Axes:
    if isinstance(value, Axes):
        return value
    if not isinstance(value, Mapping):
        raise SweepFault(
            "axes", f"must be a table of axes, found {value!r}; write one, such as lr = [0.1, 1]"
        )
    return Axes(value)


def _check_given_once(found: Given) -> None:
    """Refuse a setting that is missing or both fixed and an axis, and two that exclude each other."""
    for group in (*_EXACTLY_ONE, *_AT_MOST_ONE):
        given = [name for name in group if found[name] is not None]
        given += [f"axes.{name}" for name in group if name in found["axes"]]
        if not given and group in _EXACTLY_ONE:
            raise SweepFault(
                group[0], f"must be given, found no {' or '.join(group)}; set it, or make it an axis"
            )
        if len(given) > 1:
            raise SweepFault(given[0], f"must not stand beside {given[1]}, found both; remove one")
    for part in PARTS:
        options = found["optimizer_options"] if part == "optimizer" else found[part].options
        for name in options:
            if f"{part}.{name}" in found["axes"]:
                raise SweepFault(
                    f"{part}.{name}", f"must not stand beside axes.{part}.{name}, found both; remove one"
                )


def _check_relation(found: Given) -> None:
    """Fill in the sampler's own relation, and refuse one that it has no guarantee for."""
    if found["neighboring_relation"] is None:
        found["neighboring_relation"] = _RELATIONS[found["sampler"]]
    added = found["neighboring_relation"] is NeighboringRelation.ADD_OR_REMOVE_ONE
    if found["sampler"] == "fixed-order" and added:
        raise SweepFault(
            "neighboring_relation",
            "must keep the size of the data in a fixed order, found add_or_remove_one; "
            "use zero_out or replace_one",
        )


def _check_pairs(found: Given) -> None:
    """Refuse counterfactuals whose noise would be that of one rule's run and not of another's."""
    own_noise = found["sharing"] is SharingMode.ORDER
    if found["counterfactuals"] and own_noise and "clipping" in found["axes"]:
        raise SweepFault(
            "counterfactuals",
            "must stand beside runs of one clipping rule where each run has noise of its own, found "
            "axes.clipping; write a sweep for each rule, or set sharing = 'common'",
        )


def _check_release(found: Given) -> None:
    """Refuse to release what no epsilon speaks of."""
    if found["public"] or found["release"] is Release.ONE_FIXED_BEFOREHAND:
        return
    if found["sharing"] is SharingMode.COMMON:
        raise SweepFault(
            "release",
            f"must be one-fixed-beforehand where runs share their noise, found {found['release'].value}; "
            "set sharing = 'order' or 'independent'",
        )
    if not found["secret_seeds"]:
        raise SweepFault(
            "release",
            f"must be one-fixed-beforehand where seeds are known, found {found['release'].value}; "
            "set secret_seeds = true",
        )
    beside = [name for name in _BESIDE if found[name]]
    if beside and found["release"] is Release.ALL:
        raise SweepFault(
            "release",
            f"must leave out runs without privacy, found all beside {beside[0]}; "
            f"remove {beside[0]}, or release best",
        )


def _goal(found: Given) -> Given:
    names = ("loss", *metric_names(found["metrics"]))
    objective = found["objective"]
    if objective is None:
        objective = names[1] if len(names) > 1 else "loss"
    if objective not in names and not (isinstance(objective, str) and is_part(objective)):
        raise SweepFault(
            "objective",
            f"must be one of {', '.join(names)}, found {objective!r}; choose one, or add the metric",
        )
    maximize = found["maximize"]
    if maximize is None:
        maximize = not smaller_is_better(objective)
    return {"objective": objective, "maximize": maximize}
