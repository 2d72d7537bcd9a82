"""All engines on one task: checked, measured in turn, compared."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.asking import Failed, Worker, interleaved
from steps.reference import TOLERANCE
from steps.registry import BY_HAND, OURS, PLAIN, RIVALS, UNPRIVATE, applicable, baseline
from steps.tasks import TASKS, Task

Times = list[dict[str, float]]
AGREES, DISAGREES = "agrees", "DISAGREES"
COMPARABLE = 1 << 20
"""Bytes below which a plain step's peak is a matter of pages, and no ratio to it is given."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long to measure, and with what."""

    python: str
    rounds: int
    slice_seconds: float
    phase_rounds: int


def measure(name: str, engines: list[str], threads: int, reference: Path, options: Options) -> dict[str, Any]:
    """Everything about one task at one number of threads."""
    task = TASKS[name]
    rows: dict[str, dict[str, Any]] = {}
    workers: list[Worker] = []
    try:
        for engine in applicable(task, engines):
            say(f"{name}, {threads} threads: preparing {engine}")
            worker = Worker(options.python, name, engine, threads)
            try:
                rows[engine] = _prepare(worker, reference)
                workers.append(worker)
            except Failed as error:
                rows[engine] = {"failed": str(error)}
                worker.close()
        seconds = {w.engine: rows[w.engine].pop("step_seconds") for w in workers}
        say(f"{name}, {threads} threads: {options.rounds} rounds of {len(workers)} engines")
        times, failed = interleaved(
            workers, seconds, rounds=options.rounds, slice_seconds=options.slice_seconds
        )
        for engine, why in failed.items():
            rows[engine] = {"failed": why}
        measured = {engine: found for engine, found in times.items() if engine not in failed}
        parts = _phases(workers, options.phase_rounds) if threads == 1 else {}
    finally:
        for worker in workers:
            worker.close()
    return _compared(task, rows, measured) | {"phases": parts}


def write_reference(name: str, python: str, path: Path) -> None:
    """What every engine's first steps on a task are compared with."""
    say(f"{name}: the reference")
    worker = Worker(python, name, PLAIN, 1)
    try:
        worker.ask("refer", str(path))
    finally:
        worker.close()


def _prepare(worker: Worker, reference: Path) -> dict[str, Any]:
    """Build, take the first steps, check."""
    worker.ask("load")
    row = worker.ask("warm")
    if worker.engine in UNPRIVATE:
        return row
    try:
        row |= worker.ask("check", str(reference))
        right = row["error"] <= TOLERANCE and row.pop("noise_agrees")
        row["check"] = AGREES if right else DISAGREES
    except Failed as error:
        row["check"] = f"not checked: {error}"
    return row


def _phases(workers: Sequence[Worker], rounds: int) -> dict[str, Any]:
    """What a step consists of, for the engines that can be taken apart."""
    found = {}
    for worker in workers:
        if worker.engine != PLAIN and worker.engine not in OURS:
            continue
        try:
            answer = worker.ask("phases", rounds)
        except Failed as error:
            answer = {"phases": {}, "failed": str(error)}
        if answer["phases"]:
            found[worker.engine] = answer
    return found


def _compared(task: Task, rows: dict[str, dict[str, Any]], times: dict[str, Times]) -> dict[str, Any]:
    """Milliseconds a step, ratios round by round, peaks over the plain step's."""
    base = baseline(task)
    for engine, own in times.items():
        row = rows[engine]
        for kind in ("cpu", "wall"):
            row[f"{kind}_ms"] = _significant(1e3 * statistics.median(t[kind] for t in own))
            row[f"{kind}_ratio"] = ratio(own, times[PLAIN], kind)
            if base != PLAIN:
                row[f"{kind}_ratio_to_sparse"] = ratio(own, times[base], kind)
        least = rows[PLAIN]["peak"]
        row["peak_ratio"] = _significant(row["peak"] / least) if least >= COMPARABLE else None
    others = {"fastest_rival": RIVALS, "fastest_by_hand": BY_HAND}
    fastest = {
        what: {kind: _fastest(rows, times, names, kind) for kind in ("cpu", "wall")}
        for what, names in others.items()
    }
    return {"title": task.title, "engines": rows} | fastest


def _fastest(
    rows: dict[str, dict[str, Any]], times: dict[str, Times], names: Collection[str], kind: str
) -> dict[str, Any]:
    """The fastest of ``names`` that agrees with the reference, and its time over each of ours."""
    rivals = [e for e in times if e in names and rows[e].get("check") == AGREES]
    if not rivals:
        return {}
    best = min(rivals, key=lambda e: rows[e][f"{kind}_ratio"]["median"])
    over = {e: ratio(times[best], times[e], kind) for e in times if e in OURS}
    return {"engine": best, "over": over}


def ratio(own: Times, other: Times, kind: str) -> dict[str, float]:
    """Quartiles over rounds of one engine's time over another's in the same round."""
    values = [a[kind] / max(b[kind], 1e-9) for a, b in zip(own, other, strict=True)]
    if len(values) < 2:
        values *= 2
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"q25": _significant(low), "median": _significant(middle), "q75": _significant(high)}


def _significant(value: float) -> float:
    return float(f"{value:.4g}")


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
