"""What a running sweep has reached: counts, and the best setting at each level of privacy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from clifftop.lab.arms import ARM_SQL
from clifftop.lab.contract import RunStore
from clifftop.vocabulary import smaller_is_better

_LAST_VALUES = f"""
SELECT
    coalesce(json_extract(point, '$.target_epsilon'), epsilon_upper, run.noise_multiplier) AS level,
    max(epsilon_upper),
    CASE WHEN point IS NULL
        THEN json_object('noise_multiplier', run.noise_multiplier, 'clip_norm', run.clip_norm, 'lr', run.lr)
        ELSE json_remove(point, '$.seed', '$.target_epsilon') END AS shared_setting,
    avg(value),
    count(*)
FROM run
    CROSS JOIN metric ON metric.run = run.key AND metric.name = ? AND metric.step = run.steps
    LEFT JOIN setting ON setting.run = run.key
WHERE run.status = 'done' AND value IS NOT NULL AND ({ARM_SQL}) = 'both'
GROUP BY level, shared_setting
"""


@final
@dataclass(frozen=True, kw_only=True)
class Best:
    """The best setting at one level of privacy so far.

    Attributes:
        epsilon: of one run alone, from above; None where the store does not know it.
        setting: axis name to value, seed left out.
        mean: the metric's mean over its finished runs.
        n: how many there are.
    """

    epsilon: float | None
    setting: Mapping[str, object]
    mean: float
    n: int


@final
@dataclass(frozen=True, kw_only=True)
class Scoreboard:
    """What a store says of a sweep under way.

    Attributes:
        counts: how many runs have each status.
        workers_lost: how many workers died since the last event that the caller had seen.
        best: by rising epsilon. Only runs that finished without diverging count, and only private ones.
    """

    counts: Mapping[str, int]
    workers_lost: int
    best: tuple[Best, ...]


def last_event(store: RunStore) -> int:
    """The number of the newest event, to count later ones from."""
    ((key,),) = store.query("SELECT coalesce(max(key), 0) FROM event")
    return int(key)


def scoreboard(store: RunStore, metric: str, *, since: int = 0, maximize: bool | None = None) -> Scoreboard:
    """Read the scoreboard; ten thousand runs take some hundredths of a second.

    Args:
        store: where the sweep writes.
        metric: what to compare by.
        since: events up to this number are not counted (`last_event`).
        maximize: whether large values are good; None goes by the name (`smaller_is_better`).
    """
    large = not smaller_is_better(metric) if maximize is None else maximize
    sign = 1 if large else -1
    best: dict[float, tuple[float, Best]] = {}
    for level, epsilon, setting, mean, n in store.query(_LAST_VALUES, (metric,)):
        if level not in best or sign * mean > best[level][0]:
            found = Best(epsilon=epsilon, setting=json.loads(setting), mean=mean, n=n)
            best[level] = (sign * mean, found)
    ((lost,),) = store.query("SELECT count(*) FROM event WHERE kind = 'worker_lost' AND key > ?", (since,))
    return Scoreboard(
        counts=dict(store.query("SELECT status, count(*) FROM run GROUP BY status")),
        workers_lost=lost,
        best=tuple(best[level][1] for level in sorted(best)),
    )
