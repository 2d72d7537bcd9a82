"""Checks of the runs and of the metadata: each there once, each value one that can be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import product
from typing import TypeVar

import polars as pl

from clifftop.analysis.results import Metadata, Results
from clifftop.report.checks import Finding, baseline_name, cell_name

STATUSES = ("done", "diverged")
K = TypeVar("K")


def run_findings(results: Results) -> Iterator[Finding]:
    """Every fault of the runs and baselines themselves."""
    config = results.config
    yield from _grid(
        expected=product(config.noise_multipliers, config.clip_norms, config.lrs, config.seeds),
        found=results.runs.select("noise_multiplier", "clip_norm", "lr", "seed").rows(),
        name=lambda key: cell_name(*key),
    )
    yield from _grid(
        expected=product(config.lrs, config.seeds),
        found=results.baselines.select("lr", "seed").rows(),
        name=lambda key: baseline_name(*key),
    )
    yield from _ids(results)
    yield from _values(results.runs, "dp_runs", results)
    yield from _values(results.baselines, "baseline_runs", results)


def metadata_findings(metadata: Metadata) -> Iterator[Finding]:
    """Every fault of the metadata; types were checked when it was read."""
    try:
        datetime.fromisoformat(metadata.created)
    except ValueError:
        yield Finding(
            item="metadata.created", problem=f"must be an ISO 8601 time, found {metadata.created!r}"
        )
    times = {"runtime_seconds": metadata.runtime_seconds, "training_seconds": metadata.training_seconds}
    for key, seconds in times.items():
        if not (math.isfinite(seconds) and seconds >= 0):
            yield Finding(item=f"metadata.{key}", problem=f"must be finite and >= 0, found {seconds}")
    versions = {
        "python": metadata.python,
        "torch": metadata.torch,
        "numpy": metadata.numpy,
        "clifftop": metadata.clifftop,
    }
    for key, version in versions.items():
        if not version.strip():
            yield Finding(item=f"metadata.{key}", problem="must name a version, found an empty string")
    for key, values in {"machine": metadata.machine, "determinism": metadata.determinism}.items():
        if not values:
            yield Finding(item=f"metadata.{key}", problem="must not be empty")


def _grid(*, expected: Iterable[K], found: Sequence[K], name: Callable[[K], str]) -> Iterator[Finding]:
    wanted, counts = dict.fromkeys(expected), Counter(found)
    for key in wanted:
        if counts[key] == 0:
            yield Finding(item=name(key), problem="is missing")
    for key, count in counts.items():
        if key not in wanted:
            yield Finding(item=name(key), problem="is not in the grid of config")
        elif count > 1:
            yield Finding(item=name(key), problem=f"must be there once, found {count} times")


def _ids(results: Results) -> Iterator[Finding]:
    counts = Counter([*results.runs["id"], *results.baselines["id"]])
    for name, count in counts.items():
        if count > 1:
            yield Finding(item=f"id {name}", problem=f"must belong to one run, found {count}")


def _values(frame: pl.DataFrame, key: str, results: Results) -> Iterator[Finding]:
    columns = ("id", "accuracy", "loss", "status", "steps")
    for name, accuracy, loss, status, steps in frame.select(columns).iter_rows():
        item = f"{key} {name}"
        problem = _accuracy_problem(accuracy, results.config.num_test)
        if problem is not None:
            yield Finding(item=item, problem=problem)
        if status not in STATUSES:
            yield Finding(item=item, problem=f"status must be one of {', '.join(STATUSES)}, found {status!r}")
        if status == "done" and (loss is None or not loss >= 0):
            yield Finding(item=item, problem=f"loss of a finished run must be >= 0, found {loss}")
        if status == "done" and steps != results.config.steps:
            yield Finding(item=item, problem=f"steps must be {results.config.steps}, found {steps}")


def _accuracy_problem(accuracy: float, num_test: int) -> str | None:
    if not 0 <= accuracy <= 1:
        return f"accuracy must be in [0, 1], found {accuracy}"
    count = accuracy * num_test
    if abs(count - round(count)) > 1e-3:
        return f"accuracy must be a whole count of {num_test} test examples, found {accuracy}"
    return None
