"""What the checks say, and how they compare numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from clifftop.lab.contract import BlockLike, RunStore, StoreError
from clifftop.lab.spec import RunSpec
from clifftop.testing.stores.toys import ToyBlock

OpenStore = Callable[[], AbstractContextManager[RunStore]]
"""Opens the same store again and again."""


def must(holds: object, what: str) -> None:
    """Fail with ``what`` must hold."""
    if not holds:
        raise AssertionError(what)


def refused(call: Callable[[], object]) -> None:
    """The call must raise `StoreError` in one line."""
    try:
        call()
    except StoreError as error:
        must("\n" not in str(error), f"an error must be one line, found {error!s}")
    else:
        raise AssertionError("the call must be refused with StoreError")


def toy(block: BlockLike) -> ToyBlock:
    """A block of the toy trainer."""
    assert isinstance(block, ToyBlock)
    return block


def numbers(store: RunStore) -> set[tuple[object, ...]]:
    """Every metric and every traced number, in a form that compares NaN as equal to itself."""
    metrics = store.query("SELECT id, name, metric.step, value FROM metric JOIN run ON run = run.key")
    traces = store.query("SELECT id, name, first_step, vals FROM trace JOIN run ON run = run.key")
    numbers: set[tuple[object, ...]] = {("metric", *row) for row in metrics}
    return numbers | {("trace", *row) for row in traces}


def expected_numbers(specs: Sequence[RunSpec], blocks: Sequence[BlockLike]) -> set[tuple[object, ...]]:
    """What `numbers` must be after these blocks of these runs."""
    rows: set[tuple[object, ...]] = set()
    for block in blocks:
        for r, spec in enumerate(specs):
            if not block.trained[r]:
                continue
            for name, (steps, values) in block.metrics.items():
                numbers = [None if math.isnan(value) else value for value in values[r].tolist()]
                rows |= {
                    ("metric", spec.id, name, *pair) for pair in zip(steps.tolist(), numbers, strict=True)
                }
            for name, values in block.trace.items():
                row = values[r].astype("<f4")
                rows.add(("trace", spec.id, name, block.step - len(row) + 1, row.tobytes()))
    return rows
