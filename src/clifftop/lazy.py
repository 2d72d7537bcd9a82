"""Packages whose names are loaded when first used, so that what needs no torch does not wait for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__`` (PEP 562): each name is looked up in its home, a module of the package.

    A name whose home is "" is itself a module of the package.

    >>> load = names_from("clifftop", {"epsilon": "accounting", "events": ""})
    >>> load("epsilon").__module__, load("events").__name__
    ('clifftop.accounting.combined', 'clifftop.events')
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not homes[name]:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load
