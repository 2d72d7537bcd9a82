"""What numbers are called and counted in: metrics, settings, and the text of a cell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from clifftop.analysis.evidence import Cell, Evidence
from clifftop.report.wording import plain

_DIGITS = 5
_TITLES = {
    "noise_multiplier": "noise multiplier σ",
    "target_epsilon": "target epsilon",
    "clip_norm": "clip norm C",
    "lr": "learning rate",
    "expected_batch_size": "expected batch size",
    "clipping": "clipping rule",
}
_FIRST = ("clipping", "clip_norm", "target_epsilon", "noise_multiplier", "lr")
_SYMBOLS = {
    "noise_multiplier": "σ",
    "target_epsilon": "target ε",
    "clip_norm": "C",
    "expected_batch_size": "batch",
    "clipping": "",
    "optimizer": "",
    "model": "",
}


@final
@dataclass(frozen=True, kw_only=True)
class Unit:
    """How a metric is shown.

    Attributes:
        title: of an axis of its values.
        difference: the unit of differences between values.
        factor: from a score to what is shown: 100 for a share, which is shown in percent.
        sign: from a utility, of which more is better, to the score: 1 or -1.
        share: whether scores lie between 0 and 1.
    """

    title: str
    difference: str
    factor: float
    sign: float
    share: bool

    def shown(self, score: float) -> float:
        """A score as it is shown."""
        return self.factor * score

    def of_utility(self, utility: float) -> float:
        """A utility as the score that is shown."""
        return self.sign * self.factor * utility

    def cut(self, low: float, high: float) -> tuple[float, float]:
        """An interval's ends cut to what a share can be; its coverage stays."""
        return (max(0.0, low), min(self.factor, high)) if self.share else (low, high)

    @property
    def name(self) -> str:
        """The metric at the head of a title."""
        title = self.title.partition(",")[0]
        return title[:1].upper() + title[1:]

    @property
    def better(self) -> str:
        """Which way is better, in a word."""
        return "higher" if self.sign > 0 else "lower"

    @property
    def format(self) -> str:
        """The d3 format of values in tooltips."""
        return ".1f" if self.share else ".4~g"


def unit_of(metric: str, *, maximize: bool) -> Unit:
    """How ``metric`` is shown: accuracies in percent, everything else as it is.

    >>> unit_of("accuracy", maximize=True).title, unit_of("loss", maximize=False).title
    ('test accuracy, %', 'test loss')
    """
    base = metric.partition("[")[0]
    share = base.endswith("accuracy") or base == "clipped"
    name = metric.replace("_", " ")
    return Unit(
        title=f"test {name}, %" if share else f"test {name}",
        difference="percentage points" if share else name,
        factor=100.0 if share else 1.0,
        sign=1.0 if maximize else -1.0,
        share=share,
    )


def unit(evidence: Evidence) -> Unit:
    """How the metric that cells are compared by is shown."""
    return unit_of(evidence.metric, maximize=evidence.maximize)


def setting_title(name: str) -> str:
    """What a setting is called on an axis.

    >>> setting_title("clip_norm"), setting_title("model.num_layers")
    ('clip norm C', 'model num layers')
    """
    return _TITLES.get(name, name.replace("_", " ").replace(".", " "))


def column(name: str) -> str:
    """A setting's column in a table: Vega reads a dot as a step into an object.

    >>> column("model.width")
    'model_width'
    """
    return re.sub(r"\W", "_", name)


def label(cell: Cell, names: Sequence[str]) -> str:
    """A cell by the settings that tell it apart.

    >>> import numpy as np
    >>> from clifftop.testing.frontiers import simulated_evidence
    >>> first = simulated_evidence(rng=np.random.default_rng(0), epsilons=(7.7,), seeds=1).cells[0]
    >>> label(first, ("noise_multiplier", "lr", "clip_norm"))
    'C 1, σ 0.649, lr 0.1'
    """
    ordered = sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    parts = [_part(name, cell.setting.get(name)) for name in ordered if cell.setting.get(name) is not None]
    return ", ".join(parts)


def _part(name: str, value: object) -> str:
    symbol = _SYMBOLS.get(name, name.rpartition(".")[2].replace("_", " "))
    return f"{symbol} {value_text(value)}".strip()


def value_text(value: object) -> str:
    """A setting's value with at most three significant digits.

    >>> value_text(13.4471), value_text("flat"), value_text(2)
    ('13.4', 'flat', '2')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or not math.isfinite(value):
        return plain(value)
    return plain(float(f"{value:.3g}"))


def number(value: float | None, digits: int = _DIGITS) -> float | int | None:
    """A number for JSON: few digits, whole where it is, None where it is not finite.

    >>> number(0.1234567), number(3.0), number(float("inf"))
    (0.12346, 3, None)
    """
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short


def epsilon_number(value: float | None, digits: int = _DIGITS) -> float | int | None:
    """An epsilon for JSON, rounded up: never less than it was given.

    >>> epsilon_number(1.0000001), epsilon_number(214072.3), epsilon_number(2.5)
    (1.0001, 214080, 2.5)
    """
    short = number(value, digits)
    if short is None or value is None or short >= value:
        return short
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return number(round(value / step + 0.5) * step, digits + 1)


def scalar(value: object) -> Any:
    """A setting for JSON.

    >>> scalar(0.649612345), scalar("flat"), scalar(float("inf"))
    (0.64961, 'flat', None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return number(float(value)) if isinstance(value, float) else value


def settings_of(cells: Sequence[Cell], names: Sequence[str]) -> Mapping[str, list[object]]:
    """Each setting's value of every cell."""
    return {name: [cell.setting.get(name) for cell in cells] for name in names}
