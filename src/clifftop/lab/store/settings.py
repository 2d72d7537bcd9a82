"""The rows that say where runs lie on a sweep's axes, and what each costs alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from clifftop.codec import canonical_json, from_json
from clifftop.lab.contract import RunSetting
from clifftop.lab.store.rows import keys_of

ALL_SETTINGS = (
    "SELECT run.id, point, delta, epsilon_lower, epsilon_upper, neighboring_relation "
    "FROM setting JOIN run ON run.key = setting.run ORDER BY run.key"
)
"""The query whose rows `parse` takes."""


def write_settings(db: sqlite3.Connection, settings: Sequence[RunSetting]) -> None:
    """Insert or replace settings of runs that must all be there."""
    keys = keys_of(db, [setting.run_id for setting in settings])
    db.executemany(
        "INSERT OR REPLACE INTO setting "
        "(run, point, delta, epsilon_lower, epsilon_upper, neighboring_relation) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                key,
                canonical_json(dict(setting.point)),
                setting.delta,
                setting.epsilon_lower,
                setting.epsilon_upper,
                setting.neighboring_relation,
            )
            for key, setting in zip(keys, settings, strict=True)
        ],
    )


def parse_settings(rows: Iterable[tuple[Any, ...]]) -> dict[str, RunSetting]:
    """Settings by run id, from rows of `ALL_SETTINGS`."""
    found: dict[str, RunSetting] = {}
    for run_id, point, delta, lower, upper, relation in rows:
        found[run_id] = RunSetting(
            run_id=run_id,
            point=from_json(point, dict),
            delta=delta,
            epsilon_lower=lower,
            epsilon_upper=upper,
            neighboring_relation=relation,
        )
    return found
