"""What an audit is asked of: an object that a user's own module makes."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def keep_to_one_thread() -> None:
    """Libraries that are not loaded yet will compute on one thread, unless the caller says how many."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def made(factory: str) -> Any:
    """What MODULE:CALLABLE gives when it is called; modules of the working folder are found too.

    Raises:
        SpecError: no such module or callable; one line.
        ValueError: it cannot be called without arguments.
    """
    make = named(factory)
    _refuse_arguments(factory, make)
    return make()


def named(target: str) -> Callable[..., Any]:
    """The callable that MODULE:CALLABLE names; modules of the working folder are found too.

    Raises:
        SpecError: no such module or callable; one line.
        ValueError: a path in place of a module.
    """
    module, _, name = target.partition(":")
    if "/" in module or "\\" in module or module.endswith(".py"):
        raise ValueError(
            f"MODULE:CALLABLE must name a module as Python imports it, found {target!r}; write "
            f"{Path(module).stem}:{name or 'CALLABLE'}, in the module's folder"
        )
    keep_to_one_thread()
    from clifftop.lab import Factory

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return Factory(target=target).resolve()


def _refuse_arguments(factory: str, make: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # some builtins have none to look at
        return
    try:
        signature.bind()
    except TypeError as error:
        raise ValueError(
            f"the factory must be callable without arguments, found {factory}{signature}: {error}; give its "
            "arguments defaults, or name a function that passes them"
        ) from error
