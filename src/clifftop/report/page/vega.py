"""Charts as the page draws them: compiled to Vega when the page is built, once for both themes.

The browser then compiles nothing and starts sooner. What the themes differ in, colours, is kept as a pair;
the page takes the one of its theme.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import vl_convert

Json = dict[str, Any]
VEGA_LITE = "6.1"
MARK = "\N{SECTION SIGN}theme:"
"""Begins a string that stands for the pair of that number."""


class Themes:
    """The strings in which the configs of the two themes differ, each pair once."""

    def __init__(self) -> None:
        self._places: dict[tuple[Any, Any], int] = {}

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Light and dark, by place."""
        return list(self._places)

    def merged(self, light: Any, dark: Any) -> Any:
        """One config of two that have the same form; where leaves differ, the mark of the pair."""
        if isinstance(light, dict) and isinstance(dark, dict) and light.keys() == dark.keys():
            return {key: self.merged(value, dark[key]) for key, value in light.items()}
        if isinstance(light, list) and isinstance(dark, list) and len(light) == len(dark):
            return [self.merged(one, other) for one, other in zip(light, dark, strict=True)]
        if light == dark:
            return light
        if not isinstance(light, str) or not isinstance(dark, str):
            raise ValueError(
                f"the themes of a page may differ in colours alone, found {light!r} and {dark!r}; give both "
                "configs the same form"
            )
        return f"{MARK}{self._places.setdefault((light, dark), len(self._places))}"


def compiled(spec: Json, config: Json) -> Json:
    """A Vega-Lite spec as Vega, with a merged config: its marks pass the compiler as any colour does."""
    made = vl_convert.vegalite_to_vega({**spec, "config": config}, vl_version=VEGA_LITE)
    made.pop("$schema", None)
    return made


@cache
def javascript() -> str:
    """The Vega libraries as one script that needs nothing else and defines ``vegaEmbed``."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
