"""The tables, for a person."""

from __future__ import annotations

from typing import Any

from steps.registry import MISSING, OURS, PLAIN, baseline
from steps.tasks import TASKS

PEAK_TARGET = 1.3


def show(name: str, threads: int, figures: dict[str, Any]) -> None:
    """One task at one number of threads."""
    kind = "cpu" if threads == 1 else "wall"
    rows = figures["engines"]
    sparse = baseline(TASKS[name]) != PLAIN
    print(f"\n{figures['title']}; {threads} thread(s), {kind} time; ratio to plain: median [quartiles]")
    print(f"  {'engine':32} {'ms':>9}  {'ratio':24} {'peak MB':>8} {'x plain':>8} {'first':>7}  check")
    for engine, row in rows.items():
        if "failed" in row:
            print(f"  {engine:32} failed: {row['failed']}")
            continue
        ratios = _ratio(row[f"{kind}_ratio"])
        times = "-" if row["peak_ratio"] is None else f"{row['peak_ratio']:.2f}"
        peaks = f"{row['peak'] / 1e6:8.0f} {times:>8} {row['first_peak'] / 1e6:7.0f}"
        check = row.get("check", "")
        error = f" ({row['error']:.1e}; noise {row['noise']:.4g})" if "error" in row else ""
        print(f"  {engine:32} {row[f'{kind}_ms']:9.4g}  {ratios:24} {peaks}  {check}{error}")
        if sparse:
            print(f"  {'':32} {'':9}  to plain sparse {_ratio(row[f'{kind}_ratio_to_sparse'])}")
    for engine, why in MISSING.items():
        print(f"  {engine:32} MISSING: {why}")
    for what in ("fastest_rival", "fastest_by_hand"):
        other = figures[what][kind]
        for engine, over in other.get("over", {}).items():
            print(f"  {other['engine']}, {what.replace('_', ' ')}, over {engine}: {_ratio(over)}")


def show_phases(figures: dict[str, Any]) -> None:
    """What the FLOP count predicts and where the rest goes (one thread)."""
    parts = figures["phases"]
    if PLAIN not in parts:
        return
    plain = parts[PLAIN]["phases"]
    plain_ms = figures["engines"][PLAIN]["cpu_ms"]
    plain_gflop = sum(p["gflop"] for p in plain.values())
    print("  parts of a step: CPU ms, GFLOP")
    for engine, found in parts.items():
        text = ", ".join(
            f"{name} {p['cpu_ms']:.3g} ms {p['gflop']:.3g}" for name, p in found["phases"].items()
        )
        print(f"    {engine}: {text}")
        if "noise" not in found["phases"]:
            continue
        print(
            f"    {'':{len(engine)}}  {_accounted(found, plain_gflop, plain_ms, figures['engines'][engine])}"
        )


def _accounted(found: dict[str, Any], plain_gflop: float, plain_ms: float, row: dict[str, Any]) -> str:
    """The ratio as a sum: FLOPs, noise, the rest."""
    parts = {n: p for n, p in found["phases"].items() if n != "forward alone"}
    predicted = sum(p["gflop"] for p in parts.values()) / plain_gflop
    noise = parts["noise"]["cpu_ms"]
    measured = row["cpu_ratio"]["median"]
    rest = measured - predicted - noise / plain_ms
    each = 1e6 * noise / found["parameters"]
    return (
        f"measured {measured:.3g} = {predicted:.3g} by FLOPs + {noise / plain_ms:.3g} noise "
        f"({each:.3g} ns a parameter) + {rest:.3g} the rest"
    )


def targets(name: str, figures: dict[str, Any]) -> list[str]:
    """Each of ours against the task's targets, in CPU time on one thread."""
    task = TASKS[name]
    field = "cpu_ratio" if baseline(task) == PLAIN else "cpu_ratio_to_sparse"
    lines = []
    for engine in OURS:
        row = figures["engines"].get(engine, {"failed": "not asked"})
        if "failed" in row:
            continue
        found = row[field]["median"]
        verdict = "met" if found <= task.target else "MISSED"
        text = f"{name}, {engine}: {found:.3g} x {baseline(task)}, at most {task.target:g}: {verdict}"
        over = figures["fastest_rival"]["cpu"].get("over", {}).get(engine)
        if over is not None:
            verdict = "met" if over["median"] >= task.rival_target else "MISSED"
            text += f"; {over['median']:.3g} x the fastest rival's speed, at least {task.rival_target:g}"
            text += f": {verdict}"
        if row["peak_ratio"] is not None:
            verdict = "met" if row["peak_ratio"] <= PEAK_TARGET else "MISSED"
            text += f"; peak {row['peak_ratio']:.3g} x, at most {PEAK_TARGET:g}: {verdict}"
        lines.append(text)
    return lines


def _ratio(found: dict[str, float]) -> str:
    return f"{found['median']:.3g} [{found['q25']:.3g}, {found['q75']:.3g}]"
