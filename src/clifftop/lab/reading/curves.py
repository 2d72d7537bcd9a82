"""How runs went over training: how well they fitted, what baselines scored on the way, what gradients did.

Two queries a store, whatever its size: traces are read as the float32 they are kept as, and summed in flat
arrays. No spec is decoded and no model imported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.lab.arms import ARM_SQL
from clifftop.lab.contract import RunStore
from clifftop.lab.reading.moment import one_moment
from clifftop.lab.store import Store
from clifftop.vocabulary import Arm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRADIENT_NAMES = ("fraction_clipped", "clipping_bias", "bias_cosine", "signal_norm", "noise_norm")
"""Diagnostics of the trace that say what clipping and noise did to a step; old stores lack some."""
NOISE_TO_SIGNAL = "noise_to_signal"
MOST_POINTS = 60
_DIGITS = 6
_LOSS = "loss"
_EPOCH_PATHS = (
    "$.plan.sampler.sampling_prob",
    "$.streams.steps_per_epoch",
    "$.plan.sampler.batch_size",
    "$.evaluate_every",
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RunCurve:
    """One run at its K evaluations.

    Attributes:
        steps: ``(K,)`` steps done, rising.
        fit: ``(K,)`` mean batch loss around each, smoothed as `read_curves` says; NaN where none was finite.
        scores: ``(K,)`` the metric; NaN where it was not finite.
    """

    steps: Ints
    fit: Floats
    scores: Floats


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """One diagnostic of one cell over training, the mean over its runs; P points at most `MOST_POINTS`.

    Attributes:
        cell: as the caller numbers cells.
        name: one of `GRADIENT_NAMES`, or `NOISE_TO_SIGNAL`: the mean norm of the noise over the mean norm of
            the clipped gradients.
        layer: the module that it is of; None for the whole gradient.
        steps: ``(P,)`` the last of the steps that a point is the mean of.
        values: ``(P,)`` means of what is finite; NaN where nothing is.
        runs: how many runs it is the mean of.
    """

    cell: int
    name: str
    layer: str | None
    steps: Ints
    values: Floats
    runs: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """How the runs of a store went over training.

    Attributes:
        metric: what ``baselines`` were evaluated by.
        fit: by run id, for runs that are done: mean batch loss at the end, as `read_curves` smooths it.
        baselines: by run id, for runs that are done and were neither clipped nor noised.
        traces: of the cells asked for, by cell, name and layer.
    """

    metric: str
    fit: Mapping[str, float]
    baselines: Mapping[str, RunCurve]
    traces: tuple[Trace, ...] = ()

    def columns(self) -> dict[str, list[Any]]:
        """The traces in long form, as JSON takes them: ``cell``, ``name``, ``layer``, ``step``, ``value``.

        Values have six digits; one that is not known is None.
        """
        rows = [
            (trace.cell, trace.name, trace.layer, step, _short(value))
            for trace in self.traces
            for step, value in zip(trace.steps.tolist(), trace.values.tolist(), strict=True)
        ]
        names = ("cell", "name", "layer", "step", "value")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def open_curves(
    folder: Path | str,
    *,
    metric: str,
    num_train: int | None = None,
    cells: Mapping[int, Sequence[str]] | None = None,
) -> Curves:
    """`read_curves` of a results folder.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    with Store.read(folder) as store:
        return read_curves(store, metric=metric, num_train=num_train, cells=cells)


def read_curves(
    store: RunStore,
    *,
    metric: str,
    num_train: int | None = None,
    cells: Mapping[int, Sequence[str]] | None = None,
) -> Curves:
    """Training fits of all runs, the way of all baselines, and what gradients did in some cells.

    Batch losses are smoothed over an epoch, half of it before the step and half behind. At the end there is
    only the half before, for every run alike. An epoch that ends at the step would lag: a baseline learns
    fast at first, and would seem to fit worse than it does where it meets a private run's fit.

    An epoch is 1/q steps under Poisson sampling with probability q. In a fixed order it is what the spec says
    of its epochs, or rows over batch size; where neither is known, the steps between two evaluations.

    Args:
        store: where the runs are.
        metric: what baselines are to be read by.
        num_train: training rows.
        cells: the cells to read traces of, each with its runs' ids: some dozens, not thousands.
    """
    with one_moment(store):
        runs = _Runs.of(store, num_train)
        losses = _Losses.of(store, runs)
        evaluations = _Evaluations.of(store, metric)
        traces = _traces(store, cells) if cells else ()
    return Curves(
        metric=metric,
        fit=_final_fits(runs, losses),
        baselines=_curves(runs, losses, evaluations),
        traces=traces,
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Runs:
    """Runs that are done: the store's keys, ids, steps, steps an epoch, and whether one is a baseline."""

    keys: Ints
    ids: tuple[str, ...]
    steps: Ints
    epoch: Ints
    baseline: NDArray[np.bool_]

    @staticmethod
    def of(store: RunStore, num_train: int | None) -> _Runs:
        rows = store.query(
            f"SELECT key, id, step, {ARM_SQL} = '{Arm.NEITHER}', json_extract(spec, {', '.join('?' * 4)}) "
            "FROM run WHERE status = 'done' ORDER BY key",
            _EPOCH_PATHS,
        )
        return _Runs(
            keys=np.array([row[0] for row in rows], dtype=np.int64),
            ids=tuple(row[1] for row in rows),
            steps=np.array([row[2] for row in rows], dtype=np.int64),
            epoch=np.array([_epoch(json.loads(row[4]), num_train) for row in rows], dtype=np.int64),
            baseline=np.array([row[3] for row in rows], dtype=np.bool_),
        )


def _epoch(found: Sequence[Any], num_train: int | None) -> int:
    """Steps an epoch, from what stands at `_EPOCH_PATHS`.

    >>> (
    ...     _epoch((0.16, None, None, 50), 400),
    ...     _epoch((None, 7, 64, 50), None),
    ...     _epoch((None, None, 64, 50), 400),
    ... )
    (6, 7, 7)
    """
    prob, steps, batch, between = found
    if isinstance(prob, float) and 0 < prob <= 1:
        return max(1, round(1 / prob))
    if isinstance(steps, int) and steps > 0:
        return steps
    if isinstance(batch, int) and batch > 0 and num_train:
        return math.ceil(num_train / batch)
    return between if isinstance(between, int) and between > 0 else 1


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Losses:
    """Batch losses of all runs, one after another: the last epoch's at least, all those of a baseline.

    Attributes:
        values: every loss, with one zero behind them.
        keys: which runs have losses here, rising.
        first: ``(runs,)`` where the first of them stands.
        step: ``(runs,)`` its step, from 1.
        end: ``(runs,)`` where the last one ends.
    """

    values: Floats
    keys: Ints
    first: Ints
    step: Ints
    end: Ints

    @staticmethod
    def of(store: RunStore, runs: _Runs) -> _Losses:
        rows = store.query(
            "SELECT trace.run, first_step, vals FROM trace JOIN run ON run.key = trace.run WHERE name = ? "
            "AND status = 'done' AND (run.clip_norm IS 9e999 OR first_step + trace.steps > run.step - ?) "
            "ORDER BY trace.run, first_step",
            (_LOSS, int(runs.epoch.max(initial=1))),
        )
        values = np.frombuffer(b"".join(row[2] for row in rows), dtype="<f4").astype(np.float64)
        ends = np.cumsum([len(row[2]) // 4 for row in rows], dtype=np.int64)
        keys, places = np.unique(np.array([row[0] for row in rows], dtype=np.int64), return_index=True)
        starts = np.concatenate([[0], ends]).astype(np.int64)
        first = starts[places]
        return _Losses(
            values=np.append(values, 0.0),
            keys=keys,
            first=first,
            step=np.array([rows[place][1] for place in places], dtype=np.int64),
            end=np.append(first[1:], values.size).astype(np.int64),
        )

    def means(self, run: Ints, around: Ints, epoch: Ints) -> Floats:
        """Mean of the finite losses of an epoch, half before and half behind a step, or of those there are.

        Args:
            run: ``(W,)`` the run's place in ``keys``.
            around: ``(W,)`` steps done.
            epoch: ``(W,)`` steps an epoch.
        """
        half = (epoch + 1) // 2
        done = self.first[run] + around - self.step[run] + 1
        start, stop = np.maximum(done - half, self.first[run]), np.minimum(done + half, self.end[run])
        fine = start < stop
        if not fine.any():
            return np.full(run.size, np.nan)
        edges = np.stack([start[fine], stop[fine]], axis=1).ravel()
        known = np.isfinite(self.values)
        sums = np.add.reduceat(np.where(known, self.values, 0.0), edges)[::2]
        counts = np.add.reduceat(known.astype(np.float64), edges)[::2]
        means = np.full(run.size, np.nan)
        with np.errstate(invalid="ignore"):
            means[fine] = sums / counts
        return means


def _final_fits(runs: _Runs, losses: _Losses) -> dict[str, float]:
    traced = np.isin(runs.keys, losses.keys)
    places = np.searchsorted(losses.keys, runs.keys[traced])
    means = losses.means(places, runs.steps[traced], runs.epoch[traced])
    ids = [name for name, has in zip(runs.ids, traced.tolist(), strict=True) if has]
    return {name: mean for name, mean in zip(ids, means.tolist(), strict=True) if math.isfinite(mean)}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Evaluations:
    """Evaluations of runs that may be baselines: the store's keys, steps and values, ``(E,)`` each."""

    keys: Ints
    steps: Ints
    scores: Floats

    @staticmethod
    def of(store: RunStore, metric: str) -> _Evaluations:
        rows = store.query(
            "SELECT metric.run, metric.step, value FROM metric JOIN run ON run.key = metric.run "
            "WHERE name = ? AND status = 'done' AND clip_norm IS 9e999 ORDER BY metric.run, metric.step",
            (metric,),
        )
        return _Evaluations(
            keys=np.array([row[0] for row in rows], dtype=np.int64),
            steps=np.array([row[1] for row in rows], dtype=np.int64),
            scores=np.array([np.nan if row[2] is None else row[2] for row in rows], dtype=np.float64),
        )

    def among(self, keys: Ints) -> _Evaluations:
        """Those of some runs."""
        kept = np.isin(self.keys, keys)
        return _Evaluations(keys=self.keys[kept], steps=self.steps[kept], scores=self.scores[kept])


def _curves(runs: _Runs, losses: _Losses, evaluations: _Evaluations) -> dict[str, RunCurve]:
    found = evaluations.among(np.intersect1d(runs.keys[runs.baseline], losses.keys))
    epoch = runs.epoch[np.searchsorted(runs.keys, found.keys)]
    fit = losses.means(np.searchsorted(losses.keys, found.keys), found.steps, epoch)
    present, starts = np.unique(found.keys, return_index=True)
    ids = [runs.ids[place] for place in np.searchsorted(runs.keys, present)]
    edges = [*starts.tolist(), found.keys.size]
    return {
        name: RunCurve(steps=found.steps[start:end], fit=fit[start:end], scores=found.scores[start:end])
        for name, start, end in zip(ids, edges, edges[1:], strict=False)
    }


def _traces(store: RunStore, cells: Mapping[int, Sequence[str]]) -> tuple[Trace, ...]:
    owners = {run: cell for cell, ids in cells.items() for run in ids}
    rows = store.query(
        "SELECT run.id, name, vals FROM trace JOIN run ON run.key = trace.run "
        "WHERE run.id IN (SELECT value FROM json_each(?)) AND (name IN (SELECT value FROM json_each(?)) "
        "OR substr(name, 1, instr(name, ':') - 1) IN (SELECT value FROM json_each(?))) "
        "ORDER BY name, trace.run, first_step",
        (json.dumps(list(owners)), *[json.dumps(GRADIENT_NAMES)] * 2),
    )
    by_cell: dict[tuple[int, str, str], list[NDArray[np.float32]]] = {}
    for (run, whole), parts in groupby(rows, key=lambda row: (row[0], row[1])):
        name, _, layer = whole.partition(":")
        series = np.frombuffer(b"".join(part[2] for part in parts), dtype="<f4")
        by_cell.setdefault((owners[run], layer, name), []).append(series)
    found = [_mean_trace(key, series) for key, series in sorted(by_cell.items())]
    ordered = sorted(
        [*found, *_noise_to_signal(found)], key=lambda trace: (trace.cell, trace.layer or "", trace.name)
    )
    return tuple(ordered)


def _mean_trace(key: tuple[int, str, str], series: Sequence[NDArray[np.float32]]) -> Trace:
    """The mean over runs, which may have ended early, then over steps next to each other."""
    length = max(values.size for values in series)
    table = np.full((len(series), length), np.nan)
    for row, values in zip(table, series, strict=True):
        row[: values.size] = values
    known = np.isfinite(table)
    sums, counts = np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0)
    edges = np.unique(np.linspace(0, length, min(length, MOST_POINTS) + 1).astype(np.int64))
    with np.errstate(invalid="ignore"):
        values = np.add.reduceat(sums, edges[:-1]) / np.add.reduceat(counts, edges[:-1])
    cell, layer, name = key
    return Trace(cell=cell, name=name, layer=layer or None, steps=edges[1:], values=values, runs=len(series))


def _noise_to_signal(traces: Iterable[Trace]) -> list[Trace]:
    by_name = {(trace.cell, trace.layer, trace.name): trace for trace in traces}
    found: list[Trace] = []
    for (cell, layer, name), noise in by_name.items():
        signal = by_name.get((cell, layer, "signal_norm"))
        if name != "noise_norm" or signal is None or signal.values.size != noise.values.size:
            continue
        ratio = np.full(noise.values.size, np.nan)
        np.divide(noise.values, signal.values, out=ratio, where=signal.values > 0)
        found.append(
            Trace(
                cell=cell,
                name=NOISE_TO_SIGNAL,
                layer=layer,
                steps=noise.steps,
                values=ratio,
                runs=min(noise.runs, signal.runs),
            )
        )
    return found


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
