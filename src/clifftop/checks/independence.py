"""Whether an example's loss depends on the other examples of its batch, found by changing one of them.

No list of layer types is consulted. One example is replaced, shaken, emptied or sent far away, the
batch is reversed and cut, and the losses of the examples that stayed are compared. This is done at the
model's own parameters and near them, since a branch that starts at zero hides what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from clifftop.checks.forward import far_apart, tolerance_of
from clifftop.checks.locate import locate
from clifftop.checks.report import Findings, problem, warning
from clifftop.checks.subject import FAILURES, Rows, Subject, nearby
from clifftop.gradients.base import failed_layer

_ENOUGH = 5

Change = Callable[[Tensor, int, torch.Generator], Tensor]
"""A tensor with row ``j`` changed; the generator draws."""


@final
@dataclass(frozen=True, kw_only=True)
class Probe:
    """Examples whose losses are known from the batch as it was.

    Attributes:
        what: the change, for messages.
        rows: the batch to run.
        kept: places in ``rows`` of the examples that did not change.
        origin: the same examples' places in the batch as it was.
        parts: the same changes one at a time, for a model that does not take them all.
    """

    what: str
    rows: Rows
    kept: tuple[int, ...]
    origin: tuple[int, ...]
    parts: tuple[Probe, ...] = ()


def independence_findings(subject: Subject) -> Findings:
    """Compare each example's loss in batches that differ in the other examples.

    What is found: any influence above the rounding tolerance of `tolerance_of`. What is not: one that
    needs a larger batch than is given here, or values that no probe takes.
    """
    rng = torch.Generator().manual_seed(0)
    rows = _enough(subject.rows)
    tolerance = tolerance_of(subject.precision())
    changed, fixed_size = False, Findings()
    cuts = _cuts(rows)
    for params, probes in (
        (nearby(subject.params, rng), (*_changes(rows, rng), *cuts)),
        (subject.params, (*_changes(rows, rng)[:1], *cuts[:2])),
    ):
        whole = subject.losses(rows, params)
        waiting = list(reversed(probes))
        while waiting:
            probe = waiting.pop()
            try:
                found = subject.losses(probe.rows, params)
            except torch.OutOfMemoryError:
                raise
            except FAILURES as error:
                waiting.extend(probe.parts)
                if probe.rows.size != rows.size:
                    fixed_size = _wrong_size(subject, probe, error)
                continue
            changed |= len(probe.kept) < probe.rows.size
            if far_apart(whole[list(probe.origin)], found[list(probe.kept)], tolerance):
                return _mixed(subject, rows, probe, params, tolerance)
    if fixed_size.problems:
        return fixed_size
    if not changed:
        return warning(
            "independence",
            "no example could be changed, since all are equal or the model takes no other values, so only "
            "the batch's size and order were probed; check with examples that differ",
        )
    return Findings()


def _wrong_size(subject: Subject, probe: Probe, error: BaseException) -> Findings:
    return problem(
        "sizes",
        f"the model must run on any number of examples, found that on {probe.rows.size} it fails in "
        f"{failed_layer(subject.loss.module, error)}; let no layer, reshape or squeeze fix the batch size",
    )


def _mixed(
    subject: Subject, rows: Rows, probe: Probe, params: Mapping[str, Tensor], tolerance: float
) -> Findings:
    place = locate(
        subject,
        params,
        whole=rows,
        part=probe.rows,
        pairs=tuple(zip(probe.origin, probe.kept, strict=True)),
        tolerance=tolerance,
    )
    return problem(
        "independence",
        "an example's loss must not depend on the others in its batch, found that it changes in "
        f"{place.where} when {probe.what}: no engine can make this model private; {place.remedy}",
    )


def _changes(rows: Rows, rng: torch.Generator) -> tuple[Probe, ...]:
    """Two examples changed at a time: to values like the others', then to unlikely ones."""
    last = rows.size - 1
    gentle = _together(rows, rng, "others change", ((0, _another), (1, _noise), (1, _tokens)))
    harsh = _together(rows, rng, "others are zero or huge", ((last, _zeros), (last - 1, _far)))
    return tuple(probe for probe in (gentle, harsh) if probe is not None)


def _together(
    rows: Rows, rng: torch.Generator, what: str, changes: Sequence[tuple[int, Change]]
) -> Probe | None:
    moved = rows
    for j, change in changes:
        moved = replace(
            moved,
            inputs=tuple(change(x, j, rng) for x in moved.inputs),
            targets=tuple(change(y, j, rng) for y in moved.targets),
        )
    if _equal(moved, rows):
        return None
    kept = tuple(i for i in range(rows.size) if i not in {j for j, _ in changes})
    alone = [_together(rows, rng, what, [one]) for one in changes] if len(changes) > 1 else []
    parts = tuple(probe for probe in alone if probe is not None)
    return Probe(what=what, rows=moved, kept=kept, origin=kept, parts=parts)


def _cuts(rows: Rows) -> tuple[Probe, ...]:
    """The batch in another order and in parts."""
    everyone = range(rows.size)
    cuts = (
        ("the batch is reversed", tuple(reversed(everyone))),
        ("the batch is cut to two examples", (0, 1)),
        ("the batch is cut to one example", (rows.size - 1,)),
    )
    return tuple(
        Probe(what=what, rows=rows.take(origin), kept=tuple(range(len(origin))), origin=origin)
        for what, origin in cuts
    )


def _another(x: Tensor, j: int, _rng: torch.Generator) -> Tensor:
    return _with_row(x, j, x[(j + 1) % len(x)])


def _noise(x: Tensor, j: int, rng: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    spread = x.std() if x.numel() > 1 else x.abs().max()
    drawn = torch.randn(x.shape[1:], generator=rng, dtype=torch.float64).to(x)
    return _with_row(x, j, x[j] + 3 * (spread + 1e-3) * drawn)


def _tokens(x: Tensor, j: int, rng: torch.Generator) -> Tensor:
    if x.is_floating_point() or x.is_complex():
        return x
    seen = x.unique()
    places = torch.randint(len(seen), x.shape[1:], generator=rng).to(x.device)
    return _with_row(x, j, seen[places])


def _zeros(x: Tensor, j: int, _rng: torch.Generator) -> Tensor:
    return _with_row(x, j, torch.zeros_like(x[j]))


def _far(x: Tensor, j: int, rng: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    signs = torch.randint(2, x.shape[1:], generator=rng).to(x) * 2 - 1
    return _with_row(x, j, 1e3 * (x[j] + (x.abs().max() + 1) * signs))


def _with_row(x: Tensor, j: int, row: Tensor) -> Tensor:
    copy = x.clone()
    copy[j] = row
    return copy


def _equal(a: Rows, b: Rows) -> bool:
    return all(map(torch.equal, (*a.inputs, *a.targets), (*b.inputs, *b.targets)))


def _enough(rows: Rows) -> Rows:
    """The examples, repeated up to five where there are fewer: two to change, three to watch."""
    if rows.size >= _ENOUGH:
        return rows
    order: Sequence[int] = [i % rows.size for i in range(_ENOUGH)]
    return rows.take(order)
