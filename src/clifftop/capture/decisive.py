"""What a module's Python code may decide by, read quickly at every step."""

from __future__ import annotations

from types import NoneType
from typing import Any, final

from torch import nn

_PLAIN = (bool, int, float, str, tuple, NoneType)


@final
class Decisive:
    """Modes, and attributes that are plain values, of a module and all modules in it.

    Which they are is looked up once, and again when a module has been put in, taken out or replaced, or
    has got another number of attributes. It does not keep the module alive.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers: list[dict[str, Any]] = []
        self._structure: list[object] = []
        self._slots: list[tuple[dict[str, Any], str]] = []
        self._look(module)

    def __call__(self, module: nn.Module) -> tuple[object, ...]:
        """The values now, and what they are of: equal only where Python code decides the same."""
        if self._structure_now() != self._structure:
            self._look(module)
        values = [own.get(name) for own, name in self._slots]
        return (len(values), *values, *self._structure)

    def _look(self, module: nn.Module) -> None:
        self._layers = [vars(layer) for layer in module.modules()]
        self._structure = self._structure_now()
        self._slots = [
            (own, name) for own in self._layers for name, value in own.items() if isinstance(value, _PLAIN)
        ]

    def _structure_now(self) -> list[object]:
        found: list[object] = []
        for own in self._layers:
            found.append(len(own))
            found += own["_modules"].values()
        return found
