"""How a module was called: which of its arguments hold one row an example, and which are the same for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_KEPT = 16


@final
class Call:
    """A way of calling a module: from the examples' rows to all arguments.

    Args:
        leaves: every argument, nested ones too, with None for those that hold rows.
        places: where the rows go.
        spec: how arguments nest.
    """

    def __init__(self, leaves: Sequence[Any], places: tuple[int, ...], spec: pytree.TreeSpec) -> None:
        self.places = places
        self.spec = spec
        self._leaves = list(leaves)
        self._rows = 0

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments and keyword arguments of the module."""
        self._rows = len(inputs[0])
        leaves = list(self._leaves)
        for place, rows in zip(self.places, inputs, strict=True):
            leaves[place] = rows
        return pytree.tree_unflatten(leaves, self.spec)

    def any_loss(self, output: Any) -> Tensor:
        """Some number an example, ``(B,)``, from the output: enough to see what a forward pass draws."""
        rows = [x for x in pytree.tree_leaves(output) if is_rows(x, self._rows) and x.is_floating_point()]
        if not rows:
            return torch.zeros(self._rows)
        return rows[0].flatten(1).sum(1) if rows[0].dim() > 1 else rows[0]

    def describes(self, leaves: Sequence[Any], spec: pytree.TreeSpec, size: int) -> bool:
        """Whether these arguments are of this call, but for the rows."""
        if spec != self.spec:
            return False
        return all(
            is_rows(new, size) if i in self.places else _same(old, new)
            for i, (old, new) in enumerate(zip(self._leaves, leaves, strict=True))
        )


@final
class KnownCalls:
    """The calls that were seen: equal ones are one object, since engines remember what they found by it."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def find(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], size: int
    ) -> tuple[Call, tuple[Tensor, ...]] | None:
        """The call, and the rows of its ``size`` examples; None where no argument has that many rows."""
        leaves, spec = pytree.tree_flatten((args, dict(kwargs)))
        call = next((c for c in self._calls if c.describes(leaves, spec, size)), None)
        if call is None:
            places = tuple(i for i, x in enumerate(leaves) if is_rows(x, size))
            if not places:
                return None
            call = Call([None if i in places else x for i, x in enumerate(leaves)], places, spec)
            self._calls = [*self._calls[1 - _KEPT :], call]
        return call, tuple(leaves[i].detach() for i in call.places)


def is_rows(x: Any, size: int) -> bool:
    """Whether ``x`` is a tensor with ``size`` rows."""
    return isinstance(x, Tensor) and x.dim() > 0 and len(x) == size


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        return old is new or (old.shape == new.shape and old.dtype == new.dtype and torch.equal(old, new))
    if isinstance(old, Tensor) or isinstance(new, Tensor):
        return False
    return bool(old is new or old == new)
