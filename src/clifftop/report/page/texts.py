"""Estimates of utility and of loss as text, in the unit of the report's metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.analysis.uncertainty import Estimate
from clifftop.report.drawings.units import Unit, setting_title, unit, value_text
from clifftop.report.page.blocks import Entry
from clifftop.report.wording import MINUS, MISSING, epsilon_up

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

_SURE = 9
"""Digits that no order of summing changes: 99.65 must not be 99.6 here and 99.7 there."""


def score_entry(utility: Estimate | None, shown: Unit) -> Entry:
    """A mean as the metric has it, with its interval."""
    if utility is None:
        return Entry(text=MISSING)
    mean = shown.of_utility(utility.mean)
    if utility.ci95 is None:
        return Entry(text=_number(mean, shown), value=mean)
    low, high = sorted(shown.of_utility(end) for end in utility.ci95)
    if shown.share:
        low, high = max(0.0, low), min(100.0, high)
    return Entry(text=f"{_number(mean, shown)} [{_number(low, shown)}, {_number(high, shown)}]", value=mean)


def difference_entry(gain: Estimate | None, shown: Unit) -> Entry:
    """A difference of utilities, in points where scores are shares, with its interval."""
    if gain is None:
        return Entry(text=MISSING)
    mean = shown.factor * gain.mean
    text = _signed(mean, shown)
    if gain.ci95 is not None:
        low, high = (shown.factor * end for end in gain.ci95)
        text = f"{text} [{_signed(low, shown)}, {_signed(high, shown)}]"
    return Entry(text=text, value=mean)


def epsilon_entry(epsilon: float | None) -> Entry:
    """An epsilon, rounded up."""
    return Entry(text=MISSING) if epsilon is None else Entry(text=epsilon_up(epsilon), value=epsilon)


def setting_entries(cell: Cell, names: tuple[str, ...]) -> tuple[Entry, ...]:
    """A cell's settings of these names."""
    return tuple(_setting(cell, name) for name in names)


def setting_titles(names: tuple[str, ...]) -> tuple[str, ...]:
    """What settings are called in a header."""
    return tuple(setting_title(name) for name in names)


def score_title(evidence: Evidence) -> str:
    """What the metric is called in a header."""
    return f"{unit(evidence).title} [95% interval]"


def _setting(cell: Cell, name: str) -> Entry:
    value = cell.setting.get(name)
    return Entry(text=MISSING) if value is None else Entry(text=value_text(value), value=cell.number(name))


def _number(value: float, shown: Unit) -> str:
    value = round(value, _SURE)
    return (f"{value:.1f}" if shown.share else f"{value:.4g}").replace("-", MINUS)


def _signed(value: float, shown: Unit) -> str:
    value = round(value, _SURE)
    text = f"{value:.1f}" if shown.share else f"{value:.3g}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)
