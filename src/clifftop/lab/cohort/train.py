"""Training a cohort, block by block."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from clifftop.lab.cohort.block import FIRST_TRACE_FIELDS, Block, Log, among
from clifftop.lab.cohort.members import Members
from clifftop.lab.cohort.size import microbatch_size
from clifftop.lab.spec import RunSpec


def train_cohort(
    specs: Sequence[RunSpec],
    *,
    state: bytes | None = None,
    checkpoint_seconds: float = 5.0,
    device: str = "cpu",
    budget_bytes: int | None = None,
    keep_parameters: bool = False,
    per_layer: bool = False,
) -> Iterator[Block]:
    """Train runs together, handing back a block at the end and every ``checkpoint_seconds``.

    A run whose parameters are no longer finite when it is evaluated has diverged and ends there; the
    others go on, unchanged but for the round-off of products of another size.

    Args:
        specs: runs with one `static_key`.
        state: a block's checkpoint, of the same specs in the same order.
        checkpoint_seconds: the longest time whose steps a crash may lose.
        device: where to train.
        budget_bytes: what a step may hold; a batch that needs more goes through in microbatches. By
            default `clifftop.lab.cohort.size.memory_budget`.
        keep_parameters: whether the last block hands back the trained parameters.
        per_layer: whether diagnostics are also recorded layer by layer; runs that are resumed keep to what
            they began with.
    """
    cohort = _Cohort(
        specs, torch.device(device), budget_bytes, keep_parameters=keep_parameters, per_layer=per_layer
    )
    if state is not None:
        cohort.load(state)
    since = time.monotonic()
    while not cohort.finished:
        ended = cohort.advance()
        if cohort.finished or ended or time.monotonic() - since >= checkpoint_seconds:
            yield cohort.block()
            since = time.monotonic()


@final
class _Cohort:
    """The runs that still train, and what the next block will hold."""

    def __init__(
        self,
        specs: Sequence[RunSpec],
        device: torch.device,
        budget_bytes: int | None,
        *,
        keep_parameters: bool,
        per_layer: bool,
    ) -> None:
        self._specs, self._device, self._budget = tuple(specs), device, budget_bytes
        self._keep_parameters, self._per_layer = keep_parameters, per_layer
        self._steps, self._every = specs[0].steps, specs[0].evaluate_every
        self._rows = list(range(len(specs)))  # of the runs that still train
        self._members: Members | None = None
        self._microbatch: int | None = None
        self._step = 0
        self._diverged = np.zeros(len(specs), dtype=np.bool_)
        self._names: tuple[str, ...] | None = None  # of the trace, once they are known
        self._log = Log()

    @property
    def finished(self) -> bool:
        """Whether no run has a step left to do."""
        return self._step == self._steps or bool(self._diverged.all())

    def advance(self) -> bool:
        """One step of every run that still trains; whether one of them was seen to diverge."""
        members = self._trained()
        self._log.step(
            members.advance(self._step, microbatch_size=self._microbatch, per_layer=self._per_layer)
        )
        self._step += 1
        at_end = self._step == self._steps
        if not (at_end or self._step % self._every == 0):
            return False
        values = members.evaluate()
        self._log.evaluation(self._step, values)
        finite = members.finite()
        if at_end:
            # Finite parameters may still overflow: such a run has no loss to report.
            finite &= torch.isfinite(values["loss"]).cpu()
        lost = [row for row, fine in zip(self._rows, finite.tolist(), strict=True) if not fine]
        self._diverged[lost] = True
        return bool(lost)

    def block(self) -> Block:
        """What happened since the last block; the runs seen to diverge leave."""
        runs = len(self._specs)
        trained = np.zeros(runs, dtype=np.bool_)
        trained[self._rows] = True
        metrics, trace = self._log.metrics(self._rows, runs), self._log.trace(self._rows, runs)
        self._names = tuple(trace)
        self._log = Log(self._names)
        if not self.finished:
            self._let_go()
        return Block(
            step=self._step,
            metrics=metrics,
            trace=trace,
            state=None if self.finished else self._save(),
            finished=self.finished,
            diverged=self._diverged.copy(),
            trained=trained,
            parameters=self._parameters() if self.finished and self._keep_parameters else None,
        )

    def _parameters(self) -> dict[str, NDArray[np.floating]]:
        runs, params = len(self._specs), self._trained().params
        return {name: among(p.detach(), self._rows, runs).numpy() for name, p in params.items()}

    def _let_go(self) -> None:
        places = [place for place, row in enumerate(self._rows) if not self._diverged[row]]
        if len(places) < len(self._rows):
            self._members = self._trained().only(places)
            self._rows = [self._rows[place] for place in places]

    def _trained(self) -> Members:
        if self._members is None:
            specs = [self._specs[row] for row in self._rows]
            self._members = Members(specs, device=self._device)
            self._microbatch = microbatch_size(self._members, self._specs[0], self._budget)
        return self._members

    def load(self, state: bytes) -> None:
        """Go on from a block's checkpoint."""
        saved: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True, map_location=self._device)
        if "members" not in saved:
            saved = _of_first_format(saved, len(self._specs))
        self._step, self._rows = saved["step"], saved["rows"]
        self._diverged[:] = True
        self._diverged[self._rows] = False
        self._trained().load_state_dict(saved["members"])
        self._microbatch = saved["microbatch_size"]  # another would add floats in another order
        # A run's trace has the same names from its first step to its last.
        self._names = tuple(saved.get("trace", FIRST_TRACE_FIELDS))
        self._per_layer = any(":" in name for name in self._names)
        self._log = Log(self._names)

    def _save(self) -> bytes:
        buffer = io.BytesIO()
        state = {
            "step": self._step,
            "rows": self._rows,
            "microbatch_size": self._microbatch,
            "trace": list(self._names or ()),
            "members": self._trained().state_dict(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()


def _of_first_format(saved: dict[str, Any], runs: int) -> dict[str, Any]:
    """A checkpoint from before runs could end early, in today's form."""
    members = {part: saved[part] for part in ("params", "optimizer", "streams")}
    return {"step": saved["step"], "rows": list(range(runs)), "microbatch_size": None, "members": members}
