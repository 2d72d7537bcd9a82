"""Whether the factories of a sweep are there and take the options that they are given."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clifftop.lab.spec import Factory, SpecError
from clifftop.lab.sweep.errors import SweepFault, factory_key, nearest, told

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep


def check_factories(sweep: Sweep, folder: Path | None = None) -> None:
    """Import what the sweep names, and hold its options against each signature.

    Args:
        sweep: whose factories.
        folder: where the sweep's own modules lie; a module that lies there must be the one that is found.

    Raises:
        SweepFault: a factory is not there, or does not take an option.
    """
    for part, allowed in (("model", ()), ("data", ("seed",)), ("original_model", ())):
        factory: Factory | None = getattr(sweep, part)
        if factory is None:
            continue
        axes = [name.partition(".")[2] for name in sweep.axes if name.startswith(f"{part}.")]
        key = factory_key(part, factory.target)
        _check_options(part, key, _found(key, factory, folder), {*factory.options, *axes}, allowed)
    for key, factory in (("criterion", sweep.criterion), *(("metrics", metric) for metric in sweep.metrics)):
        _found(key, factory, folder)


def _found(key: str, factory: Factory, folder: Path | None) -> Callable[..., Any]:
    module_name, _, path = factory.target.partition(":")
    _check_place(key, module_name, folder)
    try:
        return factory.resolve()
    except SpecError as error:
        names = dir(sys.modules[module_name]) if module_name in sys.modules else []
        raise SweepFault(key, f"{error}{_remedy(module_name, path, names)}") from error
    except Exception as error:
        raise SweepFault(
            key, f"must name a module that imports, found {told(error)} in {module_name}; mend the module"
        ) from error


def _remedy(module_name: str, path: str, names: Collection[str]) -> str:
    if module_name not in sys.modules:
        return ""
    return nearest(path, names) or f"; define {path} in {module_name}"


def _check_place(key: str, module_name: str, folder: Path | None) -> None:
    """Refuse a module of the sweep's folder if another module has its name already."""
    if folder is None:
        return
    first = module_name.partition(".")[0]
    own = [folder / f"{first}.py", folder / first / "__init__.py"]
    loaded = getattr(sys.modules.get(first), "__file__", None)
    beside = [path.resolve() for path in own if path.exists()]
    if loaded and beside and Path(loaded).resolve() not in beside:
        raise SweepFault(
            key,
            f"must name the module beside the sweep file, found {first!r} loaded from {loaded}; "
            "give your module another name",
        )


def _check_options(
    part: str, key: str, built: Callable[..., Any], options: set[str], allowed: Collection[str]
) -> None:
    try:
        parameters = inspect.signature(built).parameters.values()
    except (TypeError, ValueError):
        return  # a callable of C says nothing of what it takes; calling it will
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [p.name for p in named]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for option in sorted(options - set(known)):
            raise SweepFault(
                f"{part}.{option}",
                f"must be an option of {key}, found {option!r}; it takes {', '.join(known) or 'none'}"
                f"{nearest(option, known)}",
            )
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in {*options, *allowed}:
            raise SweepFault(
                f"{part}.{parameter.name}",
                f"must be given, found no {parameter.name}; {key} has no default for it",
            )
