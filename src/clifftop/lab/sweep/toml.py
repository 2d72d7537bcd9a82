"""From the tables of a TOML file to the settings of a sweep; what is wrong has the file's own key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clifftop.lab.spec import Factory, SpecError
from clifftop.lab.sweep.adaptive import Optuna
from clifftop.lab.sweep.base import Sweep
from clifftop.lab.sweep.errors import READERS, SweepFault, nearest
from clifftop.lab.sweep.search import Grid, Random, Search, Sobol

Table = Mapping[str, Any]

KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("name", "seed", "sharing", "baselines", "counterfactuals", "per_layer", "criterion", "metrics"),
    "privacy": (
        "delta",
        "target_epsilon",
        "noise_multiplier",
        "clip_norm",
        "clipping",
        "sampler",
        "neighboring_relation",
        "public",
        "secret_seeds",
        "release",
    ),
    "training": ("expected_batch_size", "epochs", "steps", "lr", "evaluate_every", "evaluate_every_epochs"),
    "search": ("objective", "maximize"),
}
"""The settings that stand in each table under their own names; "" is the top of the file."""

SEARCHES: Mapping[str, Callable[..., Search]] = {
    "grid": Grid,
    "random": Random,
    "sobol": Sobol,
    "optuna": Optuna,
}
_SEARCH_KEYS: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "random": ("n", "seed", "cross"),
    "sobol": ("n", "seed", "cross"),
    "optuna": ("n", "seed", "cross", "round_size"),
}

_SPECIAL = ("model", "data", "optimizer", "axes", "original_model")
_TABLES = (*(name for name in KEYS if name), *_SPECIAL)
_PLACES = {key: f"{table}.{key}" if table else key for table, keys in KEYS.items() for key in keys}


def read_document(document: Table) -> Sweep:
    """The sweep that a TOML document describes.

    Raises:
        SweepFault: it describes none; its ``key`` is the place in the document.
    """
    _check_known("", document, (*KEYS[""], *_TABLES))
    tables = {name: _table(document, name) for name in _TABLES}
    settings: dict[str, Any] = {key: document[key] for key in KEYS[""] if key in document}
    for name in ("privacy", "training"):
        _check_known(name, tables[name], KEYS[name])
        settings |= tables[name]
    settings |= _search(tables["search"])
    settings |= _optimizer(tables["optimizer"])
    for name, needed in (("name", "name"), ("delta", "privacy.delta")):
        if name not in settings:
            raise SweepFault(needed, f"must be given, found no {name}; add it")
    model, data = _factory("model", tables["model"], document), _data(tables["data"], document)
    if "original_model" in document:
        settings["original_model"] = _factory("original_model", tables["original_model"], document)
    try:
        return Sweep(model=model, data=data, axes=_axes(tables["axes"]), **settings)
    except SweepFault as fault:
        raise fault.renamed(key_in_file(fault.key)) from None


def key_in_file(key: str) -> str:
    """Where a setting of a `Sweep` stands in a file.

    >>> key_in_file("lr"), key_in_file("axes.lr")
    ('training.lr', 'axes.lr')
    """
    return "optimizer.name" if key == "optimizer" else _PLACES.get(key, key)


def _check_known(table: str, content: Table, known: tuple[str, ...]) -> None:
    for key in content:
        if key not in known:
            place = f"{table}.{key}" if table else key
            home = _PLACES.get(key)
            hint = (
                f"; it belongs to [{home.partition('.')[0]}]" if home and "." in home else nearest(key, known)
            )
            raise SweepFault(
                place,
                f"must be a key that there is, found {key!r}; remove it, or use {', '.join(known)}{hint}",
            )


def _table(document: Table, name: str) -> Table:
    content = document.get(name, {})
    if name == "original_model" and isinstance(content, str):
        content = {"factory": content}
    if not isinstance(content, Mapping):
        raise SweepFault(name, f"must be a table, found {content!r}; write [{name}] and its keys below it")
    return content


def _factory(name: str, table: Table, document: Table) -> Factory:
    if "factory" not in table:
        found = ", ".join(table) if name in document and table else "nothing"
        raise SweepFault(
            f"{name}.factory",
            f'must be given, found {found}; write factory = "module:callable" below [{name}]',
        )
    target = table["factory"]
    if not isinstance(target, str):
        raise SweepFault(f"{name}.factory", f'must be a string, found {target!r}; write "module:callable"')
    return _made(name, "factory", target, table)


def _made(name: str, key: str, target: str, table: Table) -> Factory:
    try:
        Factory(target=target)
    except SpecError:
        raise SweepFault(
            f"{name}.{key}",
            f"must be 'module:callable', found {target!r}; write the module, a colon and the callable in it",
        ) from None
    options = {option: value for option, value in table.items() if option != key}
    for option, value in options.items():
        try:
            Factory(target=target, options={option: value})
        except SpecError as error:
            raise SweepFault(
                f"{name}.{option}", f"{error}; write a string, a number or a list of them"
            ) from None
    return Factory(target=target, options=options)


def _data(table: Table, document: Table) -> Factory:
    if "reader" not in table:
        return _factory("data", table, document)
    if "factory" in table:
        raise SweepFault("data.reader", "must not stand beside data.factory, found both; remove one")
    reader = table["reader"]
    if not (isinstance(reader, str) and reader.isidentifier()):
        raise SweepFault(
            "data.reader", f'must be the name of a reader, found {reader!r}; write one such as "csv"'
        )
    return _made("data", "reader", f"{READERS}:{reader}", table)


def _optimizer(table: Table) -> dict[str, Any]:
    options = {option: value for option, value in table.items() if option != "name"}
    return {"optimizer_options": options} | ({"optimizer": table["name"]} if "name" in table else {})


def _axes(table: Table) -> dict[str, Any]:
    """The axes by name; ``model.width`` may be written with quotes, or without, as TOML's own dots."""
    axes: dict[str, Any] = {}
    for name, content in table.items():
        nested = name in ("model", "data") or (name == "optimizer" and isinstance(content, Mapping))
        if nested and isinstance(content, Mapping):
            axes |= {f"{name}.{option}": spread for option, spread in content.items()}
        else:
            axes[name] = content
    return axes


def _search(table: Table) -> dict[str, Any]:
    kind = table.get("kind", "grid")
    if kind not in SEARCHES:
        hint = nearest(kind, SEARCHES) if isinstance(kind, str) else ""
        raise SweepFault(
            "search.kind", f"must be one of {', '.join(SEARCHES)}, found {kind!r}; choose one{hint}"
        )
    own = _SEARCH_KEYS[kind]
    _check_known("search", table, ("kind", *KEYS["search"], *own))
    settings = {key: table[key] for key in own if key in table}
    if "n" in own and "n" not in settings:
        raise SweepFault("search.n", "must be given, found no n; add n = 32, the number of points")
    found: dict[str, Any] = {key: table[key] for key in KEYS["search"] if key in table}
    return found | {"search": SEARCHES[kind](**settings)}
