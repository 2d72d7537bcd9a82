"""Whether a store keeps what its contract promises, beyond being readable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clifftop.codec import content_id
from clifftop.lab.store.file import Store

_SHOWN = 20


@final
@dataclass(frozen=True, kw_only=True)
class CheckedStore:
    """What a check found.

    Attributes:
        study: the study that the store belongs to.
        statuses: status to number of runs, for those that occur.
        cohorts_under_way: checkpoints.
        trainers: processes that train into it now.
        size_bytes: of the file.
        problems: broken promises, a line each, at most 20; empty if all is well.
    """

    study: str
    statuses: dict[str, int]
    cohorts_under_way: int
    trainers: int
    size_bytes: int
    problems: tuple[str, ...]


def check_store(store: Store) -> CheckedStore:
    """Read everything and compare it with what must hold.

    Raises:
        StoreError: the file itself is damaged.
    """
    store.check()
    problems: list[str] = []
    for problem in _problems(store):
        problems.append(problem)
        if len(problems) == _SHOWN:
            break
    found = store.query("SELECT status, count(*) FROM run GROUP BY status ORDER BY status")
    return CheckedStore(
        study=store.study,
        statuses={str(status): int(count) for status, count in found},
        cohorts_under_way=int(store.query("SELECT count(*) FROM checkpoint")[0][0]),
        trainers=store.trainers(),
        size_bytes=store.path.stat().st_size,
        problems=tuple(problems),
    )


def _problems(store: Store) -> Iterator[str]:
    for table, row, parent, _ in store.query("PRAGMA foreign_key_check"):
        yield f"row {row} of table {table} belongs to no {parent}"
    for run_id, spec in store.query("SELECT id, spec FROM run ORDER BY key"):
        if not spec.isascii() or content_id(spec) != run_id:
            yield f"run {run_id} must be named by its spec, whose digest is another"
    for what, sql in _MUST_BE_EMPTY.items():
        for (name,) in store.query(sql):
            yield what.format(name)
    yield from _problems_of_cohorts(store)


def _problems_of_cohorts(store: Store) -> Iterator[str]:
    known: dict[str, str] = dict(store.query("SELECT id, status FROM run"))
    held: set[str] = set()
    for cohort, text in store.query("SELECT cohort, runs FROM checkpoint"):
        try:
            run_ids = [str(run_id) for run_id in json.loads(text)]
        except (ValueError, TypeError):
            yield f"cohort {cohort} must list its runs"
            continue
        if content_id(json.dumps(run_ids)) != cohort:
            yield f"cohort {cohort} must be named by its runs, whose digest is another"
        for run_id in run_ids:
            if known.get(run_id) not in ("running", "diverged"):
                yield f"run {run_id} of cohort {cohort} under way must be running, found {known.get(run_id)}"
            elif run_id in held:
                yield f"run {run_id} must be in one cohort under way, found two"
            held.add(run_id)
    for run_id, status in known.items():
        if status == "running" and run_id not in held:
            yield f"run {run_id} is running and must be in a cohort under way, found none"


_MUST_BE_EMPTY = {
    "run {} has numbers, and must have begun": (
        "SELECT id FROM run WHERE status IN ('pending', 'failed') AND "
        "(step != 0 OR key IN (SELECT run FROM metric) OR key IN (SELECT run FROM trace))"
    ),
    "run {} must be marked as diverged exactly if its status says so": (
        "SELECT id FROM run WHERE diverged != (status = 'diverged')"
    ),
    "run {} has failed and must say why": "SELECT id FROM run WHERE status = 'failed' AND error IS NULL",
    "run {} has numbers beyond its last step": (
        "SELECT DISTINCT id FROM run JOIN metric ON run = key WHERE metric.step > run.step"
    ),
    "run {} must have a diagnostic for each step": (
        "SELECT DISTINCT id FROM run JOIN trace ON run = run.key GROUP BY run, name "
        "HAVING sum(trace.steps) != run.step OR min(first_step) != 1 "
        "OR max(first_step + trace.steps) != run.step + 1 OR sum(length(vals) != 4 * trace.steps)"
    ),
}
