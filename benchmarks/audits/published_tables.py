"""Write the tables of the published study under audit into docs/audit_accountants.md, from the record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audit_accountants.md"
RECORD = ROOT / "benchmarks" / "records" / "audit_published.json"
_BLOCK = re.compile(r"(<!-- audit: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
Json = dict[str, Any]


def filled(page: str, figures: Json) -> str:
    """``page`` with its tables made anew."""
    made = {"published": published(figures), "trainings": trainings(figures)}
    return _BLOCK.sub(lambda match: f"{match[1]}{made[match['name']]}\n{match[3]}", page)


def published(figures: Json) -> str:
    """A row for each noise multiplier; what refutes is bold."""
    lines = [
        "| sigma | published | certified: as it ran | certified: Poisson | sampling | shuffled | CPU s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    refuted = {answer["sigma"]: answer["refuted"] for answer in figures["accountant"]["answers"]}
    for row in figures["rows"]:
        fixed, mixed = row["fixed order"], row["shuffled"]
        ran, poisson = (down(row["truth"][name][0]) for name in ("fixed order", "Poisson"))
        poisson = bold(poisson, strong=refuted[row["sigma"]])
        seconds = fixed["cpu_seconds"] + mixed["cpu_seconds"]
        lines.append(
            f"| {row['sigma']:g} | {row['published']:,.2f} | {ran} | {poisson} | "
            f"{_bound(fixed)} | {_bound(mixed)} | {seconds:.1f} |"
        )
    return "\n".join(lines)


def trainings(figures: Json) -> str:
    """A row for each audit of whole trainings."""
    lines = [
        "| sigma | published | trainings | shown | at most | within the Gaussian family | CPU s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in figures["training"]:
        plain = row["plain"]
        lines.append(
            f"| {row['sigma']:g} | {row['published']:,.2f} | {row['trainings']:,} | "
            f"{bold(down(plain['epsilon']), strong=row['refuted'])} | {plain['at_most']:.2f} | "
            f"{down(row['gaussian_family']['epsilon'])} | {row['cpu_seconds']:.0f} |"
        )
    return "\n".join(lines)


def down(value: float) -> str:
    """Lower ends are never rounded up."""
    if value >= 1000:
        return f"{int(value):,}"
    return f"{int(value * 100) / 100:.2f}"


def bold(words: str, *, strong: bool) -> str:
    """Bold where it refutes."""
    return f"**{words}**" if strong else words


def _bound(measured: Json) -> str:
    epsilon = measured["plain"]["epsilon"]
    if epsilon is None:
        return "below the detection limit"
    return bold(f"≥ {down(epsilon)}", strong=measured["refuted"])


if __name__ == "__main__":
    figures = json.loads(RECORD.read_text(encoding="utf-8"))["figures"]
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
