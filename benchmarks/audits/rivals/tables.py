"""Write the tables of docs/rivals_audited.md from the record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "rivals_audited.md"
RECORD = ROOT / "benchmarks" / "records" / "audit_rivals.json"
_BLOCK = re.compile(r"(<!-- rivals: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
Json = dict[str, Any]

SCOPES = ("all examples", "finite inputs", "inputs up to 1e6")


def filled(page: str, figures: Json) -> str:
    """``page`` with its tables made anew."""
    made = {"steps": steps, "size": size, "accountants": accountants, "training": training}
    return _BLOCK.sub(lambda match: f"{match[1]}{made[match['name']](figures)}\n{match[3]}", page)


def steps(figures: Json) -> str:
    """A row for each setting: what failed in each scope, as far as was looked."""
    lines = [
        "| library | setting | model | all examples | finite inputs | inputs up to 1e6 | CPU s |",
        "|---|---|---|---|---|---|---:|",
    ]
    for row in figures["steps"]["rows"]:
        found = [_scope(row["scopes"].get(scope)) for scope in SCOPES]
        seconds = sum(scope["cpu_seconds"] for scope in row["scopes"].values())
        said = _plain(row["setting"])
        lines.append(f"| {row['library']} | {said} | {row['model']} | {' | '.join(found)} | {seconds:.1f} |")
    return "\n".join(lines)


def _scope(found: Json | None) -> str:
    if found is None:
        return ""
    if not found["findings"]:
        return f"{len(found['passed'])} of {len(found['passed'])} pass"
    return ", ".join(_finding(finding) for finding in found["findings"])


def _finding(finding: Json) -> str:
    if finding.get("not_finite"):
        return f"**{finding['check']}** (not finite)"
    if finding.get("value") is None:
        return f"**{finding['check']}** (refused)"
    return f"**{finding['check']}** {finding['value']:.3g} > {finding['limit']:.3g}"


def _plain(setting: str) -> str:
    return setting.replace("_", "\\_")


def size(figures: Json) -> str:
    """A row for each pair of data sets."""
    lines = [
        "| library | n | states epsilon | shown at 95% | at most | mean length | releases | CPU s |",
        "|---|---|---:|---:|---:|---|---:|---:|",
    ]
    for row in figures["size"]["audits"]:
        shown = row["lower_bound"]
        said = "below the detection limit" if shown == 0 else f"{shown:.2f}"
        refuted = shown > row["stated_epsilon"]
        lines.append(
            f"| {row['library']} | {row['n'][0]} or {row['n'][1]} | {row['stated_epsilon']:.3f} | "
            f"{f'**{said}**' if refuted else said} | {row['most_that_could_be_shown']:.2f} | "
            f"{row['mean_length'][0]:.1f}, {row['mean_length'][1]:.1f} | "
            f"{2 * row['runs_on_each_side']:,} | {row['cpu_seconds']:.1f} |"
        )
    return "\n".join(lines)


def accountants(figures: Json) -> str:
    """A row for each accountant."""
    lines = [
        "| accountant | version | settings | below the truth | median over truth | other findings | CPU s |",
        "|---|---|---:|---|---:|---|---:|",
    ]
    for row in figures["accountants"]["rows"]:
        name, version = row["accountant"], row.get("version", "")
        if "not_run" in row:
            lines.append(f"| {name} | {version} | 0 | not run: {_plain(row['not_run'])} | | | |")
            continue
        others = "; ".join(f"{one['check']}: {one['found']}" for one in row["findings"]) or "none"
        below = "**yes**" if row["understates"] else "never"
        lines.append(
            f"| {name} | {version} | {row['settings_asked']} | {below} | "
            f"{row['reported_over_truth'][0]:.4f} | {_plain(others)} | {row['cpu_seconds']:.0f} |"
        )
    return "\n".join(lines)


def training(figures: Json) -> str:
    """A row for each training."""
    lines = [
        "| training | epsilon claimed | runs | micro-audit | noise family | two rates | failed | CPU s |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row in figures["training"]["rows"]:
        bounds = [_bound(row["bounds"].get(name)) for name in ("micro-audit", "noise family", "two rates")]
        failed = ", ".join(one["check"] for one in row["findings"]) or "none"
        lines.append(
            f"| {row['training']} | {row['claimed_epsilon'][1]:.2f} | {row['runs']} | {' | '.join(bounds)} | "
            f"{failed} | {row['cpu_seconds']:.0f} |"
        )
    return "\n".join(lines)


def _bound(bound: Json | None) -> str:
    if bound is None:
        return ""
    return "below the detection limit" if bound["epsilon"] == 0 else f"{bound['epsilon']:.2f}"


def main() -> None:
    """Rewrite the page."""
    figures = json.loads(RECORD.read_text(encoding="utf-8"))["figures"]
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
