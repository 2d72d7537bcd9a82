"""The costly part of a private step, forward to clipped sum, as one graph for each shape of batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

from clifftop.capture.buckets import bucket, first_rows, padded_to
from clifftop.capture.function import StepFunction
from clifftop.capture.graphs import Graphs
from clifftop.flow import Batch, Params
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.gradients.graph import GraphEngine
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, Streams, Summed, clipped_sum


@final
@dataclass(frozen=True, kw_only=True)
class CapturedSumming:
    """Forward, backward, norms, weights and weighted sum as one graph, traced once a batch shape.

    Batches are filled up to a few sizes with examples that do not count, so that few graphs serve.
    A drop-in for `clifftop.private_gradient.clipped_sum`. A model that cannot be traced, several runs,
    microbatches and a batch with numbers that are not finite go the ordinary way: slower, and the same.
    What a model's Python code decides from anything but its tensors, its own attributes (numbers,
    strings, booleans) and its mode is fixed when it is traced: a model that reads a global that changes
    must not be captured.

    Attributes:
        graphs: holds them.
    """

    graphs: Graphs = field(default_factory=Graphs)

    def __call__(
        self,
        plan: PrivacyPlan,
        engine: GradientEngine,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        state: PrivacyState,
        streams: Streams,
        *,
        diagnose: bool,
        microbatch_size: int | None,
    ) -> Summed:
        """The clipped sum of one step; see `clifftop.private_gradient.clipped_sum`."""
        filled = padded_to(bucket(batch.padded_size), batch) if batch.num_runs == 1 else None
        whole = microbatch_size is None or batch.padded_size <= microbatch_size
        if filled is not None and whole and isinstance(engine, GraphEngine):
            step = StepFunction(
                plan=plan,
                loss=loss,
                params=params,
                batch=filled,
                mask=None if filled is batch else filled.mask,
                state=state.clipping,
                diagnose=diagnose,
            )
            found = self.graphs.run(step, engine, streams)
            if found is not None:
                return replace(found, seen=first_rows(found.seen, batch.padded_size))
        return clipped_sum(
            plan,
            engine,
            loss,
            params,
            batch,
            state,
            streams,
            diagnose=diagnose,
            microbatch_size=microbatch_size,
        )
