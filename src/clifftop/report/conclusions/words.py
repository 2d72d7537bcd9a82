"""Settings, utilities and their differences in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clifftop.analysis.evidence import Cell, Evidence
from clifftop.analysis.evidence.cells import Scalar
from clifftop.analysis.uncertainty import Estimate
from clifftop.report.wording import MINUS, accuracy_interval, interval_points, percent, plain, points, setting

SMALL = 0.01
"""A loss of less than a point is called small, where the metric is a share."""

_NAMES: Mapping[str, str] = {
    "noise_multiplier": "σ",
    "clip_norm": "C",
    "lr": "learning rate",
    "expected_batch_size": "batch size",
    "target_epsilon": "target epsilon",
}
_SYMBOLS = ("σ", "C")


def is_share(evidence: Evidence) -> bool:
    """Whether the metric is a share, so that differences of it are percentage points."""
    return "accuracy" in evidence.metric


def reached(evidence: Evidence, utility: Estimate, *, interval: bool = True) -> str:
    """A utility as the metric has it, with its interval: ``80.7% (95% interval 59.0 to 100.0)``."""
    sign = 1 if evidence.maximize else -1
    value = sign * utility.mean
    ends = None if utility.ci95 is None else tuple(sorted(sign * end for end in utility.ci95))
    if is_share(evidence):
        text = percent(value)
        between = interval_points(accuracy_interval(ends))  # type: ignore[arg-type]
    else:
        text = f"{evidence.metric} {number(value)}"
        between = "" if ends is None else " to ".join(number(end) for end in ends)
    return f"{text} (95% interval {between})" if interval and ends is not None else text


def amount(evidence: Evidence, difference: Estimate, *, interval: bool = True) -> str:
    """A difference of utilities: ``18.6 points (95% interval 12.0 to 25.2)``."""
    share = is_share(evidence)
    text = f"{points(difference.mean)} points" if share else f"{number(difference.mean)} in {evidence.metric}"
    if not interval or difference.ci95 is None:
        return text
    ends = interval_points(difference.ci95) if share else " to ".join(map(number, difference.ci95))
    return f"{text} (95% interval {ends})"


def number(value: float) -> str:
    """A number of no known unit, to three significant digits.

    >>> number(-0.012345), number(0.0)
    ('−0.0123', '0')
    """
    return f"{value:.3g}".replace("-", MINUS)


def where(cell: Cell, names: Sequence[str]) -> str:
    """Some settings of a cell: ``σ = 1, C = 0.1, learning rate 3``."""
    found = [(name, cell.setting[name]) for name in names if cell.setting.get(name) is not None]
    return ", ".join(_one(name, value) for name, value in found)


def _one(name: str, value: Scalar) -> str:
    word = _NAMES.get(name, name.replace("_", " "))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return setting(word, value) if word in _SYMBOLS else f"{word} {plain(value)}"
    return f"{word} {value}"


def listed(parts: Sequence[str]) -> str:
    """Words in a row.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
