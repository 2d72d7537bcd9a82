"""Tables that a step trains by rows: what it asks of them, and a quick way to which rows it reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, final

from torch import Tensor

from clifftop.capture.tracing import Captured, capture
from clifftop.flow import Batch, Params
from clifftop.gradients.base import PerExampleLoss

_log = logging.getLogger(__name__)


class RowTables(Protocol):
    """Tables of which a step reads a few rows: `clifftop.tables.DeferredTables` is one."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their weights, by the module's names; the optimiser sees no gradient of them."""
        ...

    def begin(self, batch: Batch) -> Params:
        """`read`, with the axis of runs."""
        ...

    def read(self, inputs: Sequence[Tensor], lookups: Mapping[str, Sequence[Tensor]] | None = None) -> Params:
        """Settle the rows that the inputs read, and give small tables of them."""
        ...

    def lookups(self, inputs: Sequence[Tensor]) -> Mapping[str, Sequence[Tensor]]:
        """Which rows the inputs read."""
        ...

    def keys(self) -> Params:
        """What the small tables are read by: constants of the model while it reads them."""
        ...

    def loss(self, loss: PerExampleLoss) -> PerExampleLoss:
        """``loss`` with the keys among its constants."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Within it, the model reads the small tables."""
        ...

    def apply(self, gradients: Params, noise_std: float, *, noise_owed: bool = False) -> None:
        """Take the step on the rows, and note what is owed to all others, or to these as well."""
        ...


@final
class QuickLookups:
    """Which rows inputs of one shape read, without the model where that depends on the inputs alone."""

    def __init__(self, tables: RowTables, inputs: Sequence[Tensor]) -> None:
        self._counts = {name: len(ids) for name, ids in tables.lookups(inputs).items()}
        self._graph: Captured | None = None

        def function(xs: list[Tensor]) -> list[Tensor]:
            return [x for ids in tables.lookups(xs).values() for x in ids]

        try:
            self._graph = capture(function, inputs, closed=True)
        except Exception as reason:  # noqa: BLE001  tracing may fail in any way, and asking the model remains
            _log.info("lookups are found by the model (%s)", str(reason).splitlines()[:1])

    def __call__(self, inputs: Sequence[Tensor]) -> dict[str, list[Tensor]] | None:
        """The lookups; None where the model must be asked."""
        if self._graph is None:
            return None
        found = iter(self._graph(inputs))
        return {name: [next(found) for _ in range(count)] for name, count in self._counts.items()}
