"""The graphs of a model's steps: traced when a shape is first met, kept while it is in use."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import cast, final
from weakref import WeakKeyDictionary

from torch import nn

from clifftop.capture.decisive import Decisive
from clifftop.capture.function import StepFunction
from clifftop.capture.tracing import Captured, capture
from clifftop.flow import DrawStream
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.graph.engine import Known
from clifftop.private_gradient import Summed

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, kw_only=True)
class Graphs:
    """Captured steps by model and shape.

    Attributes:
        compiled: whether PyTorch's compiler turns a graph into machine code (seconds to minutes a shape).
        max_graphs: how many to keep a model; the least recently used goes first.
    """

    compiled: bool = False
    max_graphs: int = 32
    _kept: WeakKeyDictionary[nn.Module, OrderedDict[Hashable, tuple[Known, Captured | None]]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    _decisive: WeakKeyDictionary[nn.Module, Decisive] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def run(self, step: StepFunction, engine: GraphEngine, streams: DrawStream) -> Summed | None:
        """The step by its graph; None where it has none, or a number is not finite."""
        known, graph = self.graph(step, engine, streams)
        return None if graph is None else step.result(graph(step.arguments(known, streams)))

    def graph(
        self, step: StepFunction, engine: GraphEngine, streams: DrawStream
    ) -> tuple[Known, Captured | None]:
        """What is known of the model, and the step's graph; None where it cannot be captured."""
        module = step.loss.module
        kept = self._kept.get(module)
        if kept is None:
            kept = self._kept[module] = OrderedDict()
            self._decisive[module] = Decisive(module)
        key = cast("Hashable", step.signature(self._decisive[module](module)))
        if key not in kept:
            known = engine.study(step.loss, step.params, step.batch)
            kept[key] = known, self._traced(step, known, streams)
            while len(kept) > self.max_graphs:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]

    def _traced(self, step: StepFunction, known: Known, streams: DrawStream) -> Captured | None:
        if known.plan is None:
            return None
        try:
            arguments = step.arguments(known, streams)
            into = len(step.params) if step.sums_only else 0
            return capture(lambda xs: step(known, xs), arguments, compiled=self.compiled, into=into)
        except Exception as reason:  # noqa: BLE001  tracing may fail in any way, and the ordinary way remains
            why = (str(reason).strip() or type(reason).__name__).splitlines()[0]
            _log.info("the step is not captured (%s): the ordinary one serves", why)
            return None
