"""Checks of the epsilons: consistent, falling as the noise rises, and equal when computed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Protocol

import polars as pl

from clifftop.analysis.results import Epsilon, EpsilonRow, Results
from clifftop.report.checks import Finding
from clifftop.report.wording import plain

TOLERANCE = 1e-6
"""Relative: the same arithmetic on another machine may differ in the last digits."""


class BoundLike(Protocol):
    """An interval that holds the true epsilon, such as an accountant's ``Bound``."""

    @property
    def lower(self) -> float:
        """At most the true epsilon."""
        ...

    @property
    def estimate(self) -> float:
        """The best guess."""
        ...

    @property
    def upper(self) -> float:
        """At least the true epsilon; the value to report."""
        ...


Recompute = Callable[[Mapping[str, object], Mapping[str, object]], tuple[float | None, BoundLike]]
"""A run and the config, both as in ``results.json``, to its published and its true epsilon."""

_SETTING = ("noise_multiplier", "sampling", "delta", "steps")
_EPSILON = ("epsilon_published", "epsilon_lower", "epsilon_estimate", "epsilon_upper")


def epsilon_findings(results: Results, recompute: Recompute) -> Iterator[Finding]:
    """Every fault of the runs' epsilons and of the three-epsilon table."""
    yield from _shared_settings(results)
    yield from _run_epsilons(results, recompute)
    yield from _table(results, recompute)
    yield from _falling(results)


def _shared_settings(results: Results) -> Iterator[Finding]:
    config = results.config
    for key, expected in {"delta": config.delta, "sampling": config.sampling}.items():
        odd = results.runs.filter(pl.col(key) != expected)
        for name, value in odd.select("id", key).iter_rows():
            problem = f"{key} must be {expected}, as in config, found {value}"
            yield Finding(item=f"dp_runs {name}", problem=problem)


def _run_epsilons(results: Results, recompute: Recompute) -> Iterator[Finding]:
    """Runs that share a setting must share its epsilons, so each setting is computed once."""
    config = asdict(results.config)
    grouped = results.runs.group_by(_SETTING, maintain_order=True).agg(
        pl.struct(_EPSILON).n_unique().alias("kinds"), pl.col("clip_norm").first(), pl.col(_EPSILON).first()
    )
    for row in grouped.iter_rows(named=True):
        item = f"dp_runs noise_multiplier={plain(row['noise_multiplier'])}"
        if row["kinds"] > 1:
            problem = "runs of one noise multiplier must have one epsilon, found several"
            yield Finding(item=item, problem=problem)
        published, true = recompute({key: row[key] for key in (*_SETTING, "clip_norm")}, config)
        lower, estimate, upper = (row[f"epsilon_{key}"] for key in ("lower", "estimate", "upper"))
        yield from _equal(item, Epsilon(lower=lower, estimate=estimate, upper=upper), true)
        yield from _equal_published(item, "epsilon_published", row["epsilon_published"], published)


def _table(results: Results, recompute: Recompute) -> Iterator[Finding]:
    """The table's column of these runs recomputes; the other must at least be an interval."""
    config = results.config
    listed = sorted(row.noise_multiplier for row in results.epsilons)
    if listed != sorted(set(config.noise_multipliers)):
        yield Finding(item="epsilons", problem="must have one row for each noise multiplier of config")
    for row in results.epsilons:
        item = f"epsilons noise_multiplier={plain(row.noise_multiplier)}"
        published, true = recompute(_as_run(row, results), asdict(config))
        own = row.true(config.sampling)
        if own is None:
            yield Finding(item=item, problem=f"must give the epsilon for sampling {config.sampling!r}")
        else:
            yield from _equal(item, own, true)
        for name, epsilon in {"fixed_order": row.fixed_order, "poisson": row.poisson}.items():
            if epsilon is not None and epsilon is not own:
                yield from _interval(f"{item} {name}", epsilon)
        yield from _equal_published(item, "published", row.published, published)


def _falling(results: Results) -> Iterator[Finding]:
    """The true epsilons fall as the noise rises; only at 0, where nothing is left to lose, may they tie.

    The published formula is not held to this: its cap makes it constant over a range of noise.
    """
    runs = results.runs.select("noise_multiplier", "epsilon_upper").unique(subset="noise_multiplier")
    fixed = [(row.noise_multiplier, row.fixed_order.upper) for row in results.epsilons if row.fixed_order]
    poisson = [(row.noise_multiplier, row.poisson.upper) for row in results.epsilons if row.poisson]
    columns = {"dp_runs": runs.rows(), "epsilons fixed_order": fixed, "epsilons poisson": poisson}
    for name, pairs in columns.items():
        for (less, before), (more, after) in pairwise(sorted(pairs)):
            if not (after < before or before == after == 0):
                found = f"found {before} at {plain(less)} and {after} at {plain(more)}"
                yield Finding(item=name, problem=f"epsilon must fall as noise_multiplier rises, {found}")


def _as_run(row: EpsilonRow, results: Results) -> Mapping[str, object]:
    config = results.config
    return {
        "noise_multiplier": row.noise_multiplier,
        "clip_norm": config.clip_norms[0],
        "sampling": config.sampling,
        "delta": config.delta,
        "steps": config.steps,
    }


def _equal(item: str, found: Epsilon, expected: BoundLike) -> Iterator[Finding]:
    yield from _interval(item, found)
    again = {"lower": expected.lower, "estimate": expected.estimate, "upper": expected.upper}
    for key, value in {"lower": found.lower, "estimate": found.estimate, "upper": found.upper}.items():
        if not _close(value, again[key]):
            yield Finding(item=item, problem=f"epsilon {key} is {value}, recomputed {again[key]}")


def _interval(item: str, found: Epsilon) -> Iterator[Finding]:
    if not 0 <= found.lower <= found.estimate <= found.upper:
        order = f"found {found.lower}, {found.estimate}, {found.upper}"
        yield Finding(item=item, problem=f"epsilon must have 0 <= lower <= estimate <= upper, {order}")


def _equal_published(item: str, key: str, found: float | None, expected: float | None) -> Iterator[Finding]:
    same = found is expected if found is None or expected is None else _close(found, expected)
    if not same:
        yield Finding(item=item, problem=f"{key} is {found}, recomputed {expected}")


def _close(found: float, expected: float) -> bool:
    return found == expected or math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-12)
