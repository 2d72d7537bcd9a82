"""Write the table of epsilons into README.md; with --picture, draw its picture anew as well.

Usage: python scripts/readme.py [--picture]
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from clifftop.report import build_report
from clifftop.studies import get, run_study
from clifftop.studies.results import epsilon_row

ROOT = Path(__file__).parent.parent
PICTURE = "published_epsilon.png"
_BLOCK = re.compile(r"(<!-- epsilons -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def table() -> str:
    """The published and the true epsilons of the study, as Markdown."""
    study = get("no-cliff")
    sigmas = study.defaults.noise_multipliers
    assert sigmas is not None
    lines = [
        "| sigma | as published | true: fixed order, as the code ran | had it sampled by Poisson |",
        "|---:|---:|---:|---:|",
    ]
    for sigma in sigmas:
        row = epsilon_row(study, sigma)
        true, sampled = (digits(row[name]["upper"]) for name in ("fixed_order", "poisson"))
        lines.append(f"| {sigma:g} | {row['published']:,.2f} | **{true}** | {sampled} |")
    return "\n".join(lines)


def digits(epsilon: float) -> str:
    """Five digits, rounded up: an upper end is never rounded down."""
    value = Decimal(epsilon)
    step = Decimal(1).scaleb(max(value.adjusted() - 4, -4))
    return f"{value.quantize(step, rounding=ROUND_CEILING):,f}"


def filled(page: str) -> str:
    """``page`` with its table made anew."""
    return _BLOCK.sub(lambda match: f"{match[1]}{table()}\n{match[2]}", page)


def draw() -> None:
    """Run the study and keep its first plot."""
    with tempfile.TemporaryDirectory() as folder:
        run_study("no-cliff", out=Path(folder))
        build_report(Path(folder))
        shutil.copy(Path(folder) / PICTURE, ROOT / "docs" / "images" / PICTURE)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    if "--picture" in sys.argv[1:]:
        draw()
