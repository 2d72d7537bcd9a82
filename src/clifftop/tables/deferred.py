"""Noise of embedding tables, added to a row when the row is next read, and to all before any release."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, final

import torch
from torch import Tensor, nn

from clifftop.flow import Batch, Params
from clifftop.gradients.base import PerExampleLoss
from clifftop.noise import StreamKind
from clifftop.tables.normals import RowNormals, StreamNormals
from clifftop.tables.pending import Pending
from clifftop.tables.reads import (
    Reads,
    Rows,
    find_reads,
    keys_names,
    read_from,
    refuse_other_uses,
    rows_read,
)
from clifftop.tables.refusals import find_tables

_CHUNK = 2**16
_NOT_BEGUN = "a step begins with begin(batch), found none begun; call it first"


@final
class DeferredTables:
    """The tables of a model, trained by rows: what a step costs does not depend on how many rows there are.

    Every `nn.Embedding` and `nn.EmbeddingBag` with ``sparse=True`` is one. A step is `begin`, a private
    gradient of the rows that `begin` gave, and `apply`; `clifftop.tables.private_step` does all three.
    What `flush` leaves has exactly the law of ordinary dense DP-SGD after as many steps
    (docs/tables.md). Between flushes the tables are as secret as the data: rows that were not read
    lack their noise. So the model's own ``state_dict()`` and any call of the whole model outside a step
    flush first; reading a weight directly, copying or pickling the module do not: call `flush`.

    Args:
        module: the model.
        optimizer: plain ``torch.optim.SGD`` that owns the tables, all in one group (its other parameters
            are its own affair). Learning rate and weight decay are read from the group at each step; it
            must see no gradient of a table.
        seed: keys the noise of the rows; a secret like every seed of noise.
        streams: which random streams the noise comes from; `Secure` by default.
        reads: ``reads(*inputs)`` gives the row numbers that each table reads, by the weight's name. Without
            it a forward pass finds them, which ends at the last lookup.
        normals: the noise itself, in place of ``seed`` and ``streams``.

    Raises:
        UnsupportedModule: a table's noise cannot be deferred.
        ValueError: no table is found, or the optimiser is not plain SGD.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        seed: int,
        streams: StreamKind | None = None,
        reads: Reads | None = None,
        normals: RowNormals | None = None,
    ) -> None:
        self._tables = find_tables(module, optimizer)
        self._module = module
        self._reads = reads
        self._normals = StreamNormals(seed, streams) if normals is None else normals
        weights = self.weights()
        self._starts = dict(zip(weights, accumulate(map(len, weights.values()), initial=0), strict=False))
        device = next(iter(weights.values())).device
        self._pending = Pending(sum(map(len, weights.values())), device=device)
        self.steps = 0
        self._draws = 0
        self._begun: _Begun | None = None
        self._lookups: int | None = None
        self._busy = False
        guard = _Guard(self)
        self._handles = (
            module.register_state_dict_pre_hook(guard),
            module.register_forward_pre_hook(guard),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The tables' weights, by the model's names."""
        return tuple(self._tables.modules)

    @torch.no_grad()
    def begin(self, batch: Batch) -> Params:
        """Settle the rows that ``batch`` reads, and give small tables of them: ``(1, c, d)`` each.

        A small table holds some rows of zeros more, so that steps share a few shapes.

        Raises:
            ValueError: the batch is one of several runs.
        """
        if batch.num_runs != 1:
            raise ValueError(
                f"tables are trained one run at a time, found R={batch.num_runs}; "
                "give each run a module of its own"
            )
        small = self.read([x[0] for x in batch.inputs])
        return {name: value[None] for name, value in small.items()}

    @torch.no_grad()
    def read(self, inputs: Sequence[Tensor], lookups: Mapping[str, Sequence[Tensor]] | None = None) -> Params:
        """`begin` without the axis of runs: from inputs ``(B, ...)`` to small tables ``(c, d)``.

        ``lookups`` are what `lookups` gives, where the caller has it.
        """
        found = self.lookups(inputs) if lookups is None else lookups
        rows = {name: rows_read(table, found[name]) for name, table in self._tables.modules.items()}
        weights = self.weights()
        values = {name: w.index_select(0, rows[name].read) for name, w in weights.items()}
        places = torch.cat([rows[name].read + start for name, start in self._starts.items()])
        if self._pending.steps:
            values = self._with_noise(f"read {self._draws}", values, *self._pending.missing(places))
            self._draws += 1
        self._begun = _Begun(rows=rows, values=values, places=places)
        return {name: rows[name].spread(value) for name, value in values.items()}

    def loss(self, loss: PerExampleLoss) -> PerExampleLoss:
        """``loss`` with what the tables read by among its constants; for a step that has begun."""
        keys = {name: value[None] for name, value in self.keys().items()}
        return replace(loss, constants={**loss.constants, **keys})

    def keys(self) -> Params:
        """What the tables read by in the step that has begun, by the names of the model's constants."""
        if self._begun is None:
            raise ValueError(_NOT_BEGUN)
        names = keys_names(self._tables.modules)
        return {names[name]: rows.keys for name, rows in self._begun.rows.items()}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let the model be called with what `begin` gave in place of its tables; for a private gradient.

        Raises:
            ValueError: no step has begun.
        """
        if self._begun is None:
            raise ValueError(_NOT_BEGUN)
        self._busy = True
        try:
            with read_from(self._tables.modules, self._begun.rows):
                yield
        finally:
            self._busy = False

    def flush_outside_steps(self) -> None:
        """`flush`, unless it is a step of training that reads the model."""
        if not self._busy:
            self.flush()

    @torch.no_grad()
    def apply(self, gradients: Params, noise_std: float, *, noise_owed: bool = False) -> None:
        """The optimiser's step on the rows that `begin` gave; the others' share of it is noted.

        Args:
            gradients: the tables' part of a private gradient, shaped as `begin` gave them, noise included.
            noise_std: standard deviation of the noise in each of its coordinates.
            noise_owed: whether the gradients lack their noise: it is then noted for these rows like for all
                others, and added when they are next read or flushed, in one draw with that of later steps.

        Raises:
            ValueError: no step has begun, or a table holds a gradient of its own.
        """
        if self._begun is None:
            raise ValueError(_NOT_BEGUN)
        for name, table in self._tables.modules.items():
            if table.weight.grad is not None:
                raise ValueError(
                    f"a table's grad must be None, found one at '{name}', which the optimiser would apply "
                    "without noise; call optimizer.zero_grad() before the step"
                )
        lr, weight_decay = self._tables.step_size()
        factor = 1 - lr * weight_decay
        self._pending.advance(factor=factor, noise_std=lr * noise_std)
        # Where the noise is owed, the decay that belongs to it is owed as well.
        decay, move = (1.0, lr / factor) if noise_owed else (factor, lr)
        for name, weight in self.weights().items():
            rows, values = self._begun.rows[name], self._begun.values[name]
            moved = values if decay == 1 else values * decay
            gradient = rows.gathered(gradients[name].view(-1, weight.shape[1]))
            weight.index_copy_(0, rows.read, moved.add(gradient, alpha=-move))
        # After the writing: a step that is interrupted before may add noise twice, never leave it out.
        self._pending.settle(self._begun.places, owed=int(noise_owed))
        self.steps += 1
        self._draws = 0
        self._begun = None
        if self._pending.must_restart:
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Add all noise that is missing, in one pass over every table; none is missing afterwards.

        Call it before anything that a reader of the model may see. Where nothing is missing it
        does nothing.
        """
        self._begun = None
        if self._pending.steps == 0:
            return
        for name, weight in self.weights().items():
            start = self._starts[name]
            for first in range(0, len(weight), _CHUNK):
                part = weight[first : first + _CHUNK]
                places = slice(start + first, start + first + len(part))
                filled = self._with_noise(
                    f"flush {places.start}", {name: part}, *self._pending.missing(places)
                )
                part.copy_(filled[name])
                self._pending.settle(places)
        self._pending.restart()

    def close(self) -> None:
        """Flush, and let go of the module."""
        self.flush()
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the tables themselves, as tensors.

        With the weights as they are (see `weights`) it resumes exactly, without a flush; such a
        checkpoint is as secret as the data. It holds the seed, unless ``normals`` were given.
        """
        counts = {"steps": torch.tensor(self.steps), "draws": torch.tensor(self._draws)}
        seed = self._normals.state() if isinstance(self._normals, StreamNormals) else {}
        return counts | seed | self._pending.state()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`, with its seed; load the weights as well.

        Raises:
            ValueError: it is that of tables with other numbers of rows.
        """
        self._pending.load_state(state)
        if isinstance(self._normals, StreamNormals) and "seed" in state:
            # Steps that are repeated must repeat their noise: another would be another release.
            self._normals.load_state(state)
        self.steps, self._draws = int(state["steps"]), int(state["draws"])
        self._begun = None

    def weights(self) -> Params:
        """The tables as they are, noise missing and all; for a checkpoint that nobody else reads."""
        return {name: table.weight.detach() for name, table in self._tables.modules.items()}

    @torch.no_grad()
    def lookups(self, inputs: Sequence[Tensor]) -> Mapping[str, Sequence[Tensor]]:
        """The row numbers that the model looks up for ``inputs`` in each table, one tensor a lookup."""
        tables = self._tables.modules
        self._busy = True
        try:
            if self._lookups is None:
                refuse_other_uses(self._module, tables, [x[:2] for x in inputs])
                seen = find_reads(self._module, tables, [x[:2] for x in inputs])
                self._lookups = sum(map(len, seen.values()))
            if self._reads is None:
                return find_reads(self._module, tables, inputs, lookups=self._lookups)
            return {name: [ids] for name, ids in self._reads(*inputs).items()}
        finally:
            self._busy = False

    def _with_noise(self, purpose: str, values: Params, scale: Tensor, std: Tensor) -> Params:
        """``values`` as they would be had their rows taken part in every step; table after table."""
        first = next(iter(values.values()))
        sizes = [len(value) for value in values.values()]
        if self._pending.decayed:
            parts = scale.to(first.dtype)[:, None].split(sizes)
            values = {name: v * part for (name, v), part in zip(values.items(), parts, strict=True)}
        if not self._pending.noisy:
            return values
        counts = [value.numel() for value in values.values()]
        like = first.new_empty(1).expand(sum(counts))
        normals = self._normals(purpose=purpose, step=self.steps, like=like).split(counts)
        stds = std.to(first.dtype)[:, None].split(sizes)
        return {
            name: torch.addcmul(value, normal.view_as(value), own)
            for (name, value), normal, own in zip(values.items(), normals, stds, strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """The rows of a step that has begun, and their values with all noise before the step.

    The tables hold these values only once the step has ended: what a step that fails has read, the
    next one settles anew.
    """

    rows: Mapping[str, Rows]
    values: Params
    places: Tensor


@final
class _Guard:
    """Flushes before the model is read as a whole; a copy of the model is not guarded."""

    def __init__(self, tables: DeferredTables) -> None:
        self._tables: weakref.ref[DeferredTables] | None = weakref.ref(tables)

    def __call__(self, *_: Any) -> None:
        """Flush, unless a step reads."""
        tables = None if self._tables is None else self._tables()
        if tables is not None:
            tables.flush_outside_steps()

    def __getstate__(self) -> dict[str, Any]:
        return {"_tables": None}
