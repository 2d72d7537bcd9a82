"""Nothing may be learnt from the private examples before the first noise is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clifftop.audit.steps import StepCheck
from clifftop.audit.trainings.adapter import Array, HasPublicNumbers, Prepares
from clifftop.audit.trainings.findings import same, verdict

_EXTREME = 1e6
_REMOVED = 4
_ADDED = 64
"""More examples than one over a usual sampling rate for small data, so that rounded products change."""


def check_preparation(training: Prepares) -> StepCheck:
    """An example's prepared form is a function of this example alone, to the bit.

    Looked at by replacing an example by an extreme one, by removing one, and by another order. One row may
    not become several either: each would be noised for as if it were one example.
    """
    rows = training.rows()
    before = training.prepare(rows.copy())
    faults: list[str] = []
    if len(before) != len(rows):
        faults.append(f"{len(rows)} examples became {len(before)}")
    else:
        for what, changed, kept in _neighbours(rows):
            after = training.prepare(changed)
            if len(after) != len(changed):
                faults.append(f"{len(changed)} examples became {len(after)} when {what}")
            elif not same(np.asarray(after[kept[1]]), np.asarray(before[kept[0]])):
                faults.append(f"other examples' prepared form changed when {what}")
    return verdict(
        "preparation",
        "each example must be prepared by itself, by public numbers",
        faults,
        otherwise=f"{len(rows)} examples are prepared alike beside any others that were tried",
    )


def _neighbours(rows: Array) -> Iterator[tuple[str, Array, tuple[list[int], list[int]]]]:
    """What was done, the rows, and which of the old ones lie where among the new ones."""
    count = len(rows)
    places = list(range(count))
    for at in np.linspace(0, count - 1, min(_REMOVED, count)).astype(int).tolist():
        others = [place for place in places if place != at]
        for value in (_EXTREME, -_EXTREME):
            extreme = rows.copy()
            extreme[at] = value
            yield f"example {at} became {value:g}", extreme, (others, others)
        yield f"example {at} was removed", np.delete(rows, at, 0), (others, places[:-1])
    yield "their order was turned around", rows[::-1].copy(), (places, places[::-1])
    yield "the first came twice", np.concatenate([rows, rows[:1]]), (places, places)


def check_public_numbers(training: HasPublicNumbers) -> StepCheck:
    """Numbers that are used without noise do not change with the private examples, nor with how many.

    Where data sets that differ by one example are compared, their size is private: a divisor, a number of
    steps, a sampling rate or a delta made of it tells it. Up to 64 examples are added one by one, since a
    product that is rounded changes at some sizes only.
    """
    rows = training.rows()
    before = dict(training.public_numbers(rows.copy()))
    faults: list[str] = []
    for what, changed in _sizes(rows):
        after = dict(training.public_numbers(changed))
        named = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        faults += [f"{name} became {after.get(name)} from {before.get(name)} with {what}" for name in named]
    return verdict(
        "public-numbers",
        "numbers that are used without noise must not be taken from the private examples",
        faults,
        otherwise=f"{', '.join(sorted(before)) or 'none'}: the same for all data that were tried",
    )


def _sizes(rows: Array) -> Iterator[tuple[str, Array]]:
    for at in (0, len(rows) - 1):
        yield f"example {at} removed", np.delete(rows, at, 0)
        extreme = rows.copy()
        extreme[at] = _EXTREME
        yield f"example {at} at {_EXTREME:g}", extreme
    for more in range(1, _ADDED + 1):
        yield f"{more} more examples", np.concatenate([rows, rows[np.arange(more) % len(rows)]])
