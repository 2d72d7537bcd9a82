"""Hard examples for a step under test: what an audit should be able to name besides real ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FACTORS = (1e3, 1e4, -50.0, 1e-3, 0.0, 1e20)
"""What inputs are multiplied by; 0 leaves the biases alone, 1e20 overflows a squared norm."""


def hard_examples(
    inputs: Sequence[Tensor], targets: Sequence[Tensor], *, of: int = 2
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The examples given, and after them variants that a step should bound as it bounds any other.

    Of each of the first ``of`` examples: inputs times `FACTORS`, with an infinite and a NaN entry (where
    inputs are floats), and the same inputs with other examples' targets, whose gradients oppose.

    Args:
        inputs: each ``(N, ...)``, N at least 2.
        targets: each ``(N, ...)``.
        of: how many examples are varied.

    >>> inputs, targets = hard_examples([torch.ones(4, 3)], [torch.arange(4)], of=1)
    >>> len(inputs[0]) == len(targets[0]) == 4 + len(FACTORS) + 2 + 3
    True
    """
    count = len(inputs[0])
    rows, shifts = range(min(of, count)), range(1, min(4, count))
    more_inputs, more_targets = [[x[:0] for x in inputs]], [[y[:0] for y in targets]]
    for row in rows:
        own = [y[row : row + 1] for y in targets]
        for varied in _varied([x[row : row + 1] for x in inputs]):
            more_inputs.append(varied)
            more_targets.append(own)
        for shift in shifts:
            other = (row + shift) % count
            more_inputs.append([x[row : row + 1] for x in inputs])
            more_targets.append([y[other : other + 1] for y in targets])
    return _after(inputs, more_inputs), _after(targets, more_targets)


def _varied(one: Sequence[Tensor]) -> list[list[Tensor]]:
    """One example's inputs ``(1, ...)`` in every variant; none if no input is of floats."""
    if not any(x.is_floating_point() for x in one):
        return []
    variants = [[x * factor if x.is_floating_point() else x for x in one] for factor in FACTORS]
    variants += [[_with_first(x, value) for x in one] for value in (torch.inf, torch.nan)]
    return variants


def _with_first(x: Tensor, value: float) -> Tensor:
    if not x.is_floating_point():
        return x
    changed = x.clone()
    changed.view(-1)[0] = value
    return changed


def _after(first: Sequence[Tensor], more: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat([x, *(rows[i] for rows in more)]) for i, x in enumerate(first))
