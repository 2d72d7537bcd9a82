"""What a run's row says besides its numbers: read from the spec's JSON, never from a decoded spec.

No model, plan or other class that a spec names is imported, so a table of ten thousand runs takes a
fraction of a second, and a store of code that is not installed here can be read too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import polars as pl

from clifftop.lab.arms import ARM_SQL
from clifftop.lab.contract import RunStore
from clifftop.vocabulary import Arm

FIXED: Mapping[str, Any] = {
    "id": pl.String,
    "status": pl.String,
    "arm": pl.String,
    "noise_multiplier": pl.Float64,
    "clip_norm": pl.Float64,
    "lr": pl.Float64,
    "seed": pl.Int64,
    "steps": pl.Int64,
    "expected_batch_size": pl.Float64,
    "optimizer": pl.String,
    "clipping": pl.String,
    "model": pl.String,
    "configuration": pl.Int64,
    "noise": pl.String,
    "delta": pl.Float64,
    "epsilon_lower": pl.Float64,
    "epsilon": pl.Float64,
    "step": pl.Int64,
    "error": pl.String,
}
"""The columns that every table of runs has, in order; axes stand after ``model``."""

SETTINGS = (
    "noise_multiplier",
    "clip_norm",
    "lr",
    "expected_batch_size",
    "optimizer",
    "clipping",
    "model",
    "steps",
    "seed",
)
"""The columns among `FIXED` that are also axes: a spec's own value is shown, not the point's."""

_STORED = ("id", "status", "noise_multiplier", "clip_norm", "lr", "seed", "steps", "step", "error")
_PATHS = (
    "$.plan.expected_batch_size",
    "$.plan.sampler.batch_size",
    "$.optimizer.name",
    '$.plan.clipping."$kind"',
    "$.model.target",
    "$.noise_seed",
    "$.plan.clipping.noise_scale",
)


def run_rows(store: RunStore) -> pl.DataFrame:
    """One row a run: ``key``, the columns of `FIXED` and one column an axis, in the order they were added."""
    rows = store.query(
        f"SELECT key, {', '.join(_STORED)}, {ARM_SQL}, json_remove(spec, '$.seed', '$.noise_seed'), "
        f"json_extract(spec, {', '.join('?' * len(_PATHS))}) FROM run ORDER BY key",
        _PATHS,
    )
    stored = pl.DataFrame(
        [row[:-2] for row in rows],
        schema={"key": pl.Int64, **{name: FIXED[name] for name in (*_STORED, "arm")}},
        orient="row",
    )
    facts = _parsed([row[-1] for row in rows])
    # A run that is not clipped has the clip norm of the run that it stands beside: its noise is as large.
    scales = pl.Series([_number(fact[6]) for fact in facts], dtype=pl.Float64)
    table = stored.with_columns(
        pl.col("clip_norm").fill_null(scales),
        *_series("expected_batch_size", [_number(fact[0]) or _number(fact[1]) for fact in facts]),
        *_series("optimizer", [_text(fact[2]) for fact in facts]),
        *_series("clipping", [_rule_name(fact[3]) for fact in facts]),
        *_series("model", [_callable_name(fact[4]) for fact in facts]),
        *_series("configuration", _numbered([row[-2] for row in rows])),
        *_series("noise", _noise(stored, [fact[5] for fact in facts])),
    )
    return _with_settings(store, table)


def settings_of(columns: Sequence[str]) -> list[str]:
    """The columns of a table of runs that say what was asked for: those before ``configuration``.

    The arm is none of them: it follows from noise and clipping.
    """
    before = columns[: list(columns).index("configuration")]
    return [name for name in before if name not in ("id", "status", "arm")]


def metrics_of(columns: Sequence[str]) -> list[str]:
    """The columns that hold metrics: those behind ``error`` but for the means of diagnostics."""
    behind = columns[list(columns).index("error") + 1 :]
    return [name for name in behind if not name.startswith("mean_")]


def unused_name(name: str, suffix: str, taken: set[str]) -> str:
    """``name``, with ``suffix`` as often as it takes to be none of ``taken``, which it then joins.

    >>> unused_name("seed", "_metric", {"seed"})
    'seed_metric'
    """
    while name in taken:
        name += suffix
    taken.add(name)
    return name


def typed(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of JSON scalars in the narrowest type that holds them all; text where none does.

    >>> typed("width", [8, None, 1.5]).to_list()
    [8.0, None, 1.5]
    """
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if float in kinds and kinds <= {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values])
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _with_settings(store: RunStore, table: pl.DataFrame) -> pl.DataFrame:
    """The table with its axes, delta and epsilons, and its columns in order."""
    rows = store.query("SELECT run, delta, epsilon_lower, epsilon_upper, point FROM setting")
    costs = pl.DataFrame(
        [row[:4] for row in rows],
        schema={"key": pl.Int64, "delta": pl.Float64, "epsilon_lower": pl.Float64, "epsilon": pl.Float64},
        orient="row",
    )
    points = dict(zip(costs["key"], _parsed([row[4] for row in rows]), strict=True))
    axes = list(dict.fromkeys(name for point in points.values() for name in point if name not in SETTINGS))
    keys = table["key"].to_list()
    taken = set(FIXED)
    columns = [
        typed(unused_name(axis, "_axis", taken), [_scalar(points.get(key, {}).get(axis)) for key in keys])
        for axis in axes
    ]
    whole = table.join(costs, on="key", how="left", maintain_order="left").with_columns(*columns)
    names = list(FIXED)
    place = names.index("model") + 1
    return whole.select("key", *names[:place], *(column.name for column in columns), *names[place:])


def _series(name: str, values: Sequence[object]) -> tuple[pl.Series]:
    return (pl.Series(name, values, dtype=FIXED[name]),)


def _numbered(texts: Sequence[str]) -> list[int]:
    """Equal texts get equal numbers, from 0 on in the order of their first appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(text, len(numbers)) for text in texts]


def _noise(stored: pl.DataFrame, noise_seeds: Sequence[int | None]) -> list[str | None]:
    """Whether another private run of the store draws the same noise; the seeds themselves stay here."""
    private = (stored["arm"] == Arm.BOTH).to_list()
    keys = [
        seed if own is None else own for seed, own in zip(stored["seed"].to_list(), noise_seeds, strict=True)
    ]
    uses = Counter(key for key, noisy in zip(keys, private, strict=True) if noisy)
    return [
        ("own" if uses[key] == 1 else "shared") if noisy else None
        for key, noisy in zip(keys, private, strict=True)
    ]


@cache
def _rule_name(kind: object) -> str | None:
    """The name by which a sweep knows a clipping rule: ``...:PerLayer`` is ``per-layer``."""
    name = _callable_name(kind)
    return None if name is None else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _callable_name(target: object) -> str | None:
    return target.rpartition(":")[2] if isinstance(target, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _parsed(texts: Sequence[str]) -> list[Any]:
    """Many JSON texts at once, which takes a third of the time of one by one."""
    return json.loads(f"[{','.join(texts)}]")


def _scalar(value: Any) -> Any:
    """A value of a point; `clifftop.codec` writes a float that JSON cannot say as an object."""
    return float(value["$float"]) if isinstance(value, dict) else value
