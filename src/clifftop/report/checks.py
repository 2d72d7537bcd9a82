"""What a check finds, and how two JSON values differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clifftop.report.wording import plain


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: the item, and what is wrong with it."""

    item: str
    problem: str


def differences(found: object, expected: object, *, at: str = "") -> Iterator[Finding]:
    """Where ``found`` differs from ``expected``; numbers are equal to 1e-9, relative or absolute."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            place = f"{at}.{key}" if at else str(key)
            if key in found:
                yield from differences(found[key], value, at=place)
            else:
                yield Finding(item=place, problem="is missing")
        for key in found.keys() - expected.keys():
            yield Finding(item=f"{at}.{key}" if at else str(key), problem="does not belong here")
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            yield Finding(item=at, problem=f"has {len(found)} entries, recomputed {len(expected)}")
        for index, (item, value) in enumerate(zip(found, expected, strict=False)):
            yield from differences(item, value, at=f"{at}[{index}]")
    elif not _same(found, expected):
        yield Finding(item=at, problem=f"is {_short(found)}, recomputed {_short(expected)}")


def _same(found: object, expected: object) -> bool:
    if _is_number(found) and _is_number(expected):
        return math.isclose(float(str(found)), float(str(expected)), rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(expected) and found == expected


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def cell_name(noise_multiplier: float, clip_norm: float, lr: float, seed: int) -> str:
    """A private run by its place in the grid."""
    place = f"noise_multiplier={plain(noise_multiplier)} clip_norm={plain(clip_norm)}"
    return f"dp_runs {place} lr={plain(lr)} seed={seed}"


def baseline_name(lr: float, seed: int) -> str:
    """A baseline run by its place in the grid."""
    return f"baseline_runs lr={plain(lr)} seed={seed}"
