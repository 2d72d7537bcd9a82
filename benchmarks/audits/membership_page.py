"""Write the tables of docs/membership.md, and its picture, from the record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "membership.md"
PICTURE = ROOT / "docs" / "images" / "membership.png"
RECORD = ROOT / "benchmarks" / "records" / "audit_membership.json"
_BLOCK = re.compile(r"(<!-- audit: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
Json = dict[str, Any]


def filled(page: str, figures: Json) -> str:
    """``page`` with its tables made anew."""
    made = {"first": first(figures), "second": second(figures), "fashion": fashion(figures)}
    return _BLOCK.sub(lambda match: f"{match[1]}{made[match['name']]}\n{match[3]}", page)


def first(figures: Json) -> str:
    """A row a level of noise: the study's attack, published and anew, beside stronger ones."""
    lines = [
        header(
            "",
            "epsilon published",
            "certified",
            "test accuracy",
            "study's attack, published",
            "anew",
            "shadow classifier",
            "loss threshold",
            "calibrated loss",
            "RMIA",
            "**LiRA**",
            "LiRA: TPR at 1%",
            "at 0.1%",
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in figures["first_study"].items():
        mean, certified = row["mean_over_seeds"], row["epsilon_certified"]
        others = ("shadow classifier", "loss threshold", "calibrated loss", "RMIA online")
        areas = (mean[attack]["auc"] for attack in others)
        lira = mean["LiRA online"]
        lines.append(
            f"| {name} | {number(row['epsilon_published'])} | {number(certified and certified[1])} | "
            f"{mean['test_accuracy']:.3f} | {number(row['auc_published'], 3)} | "
            f"{row['auc_of_the_studys_attack'][0]:.3f} | {' | '.join(f'{area:.3f}' for area in areas)} | "
            f"**{lira['auc']:.3f}** | {lira['tpr_at_1%']:.3f} | {lira['tpr_at_0.1%']:.3f} |"
        )
    return "\n".join(lines)


def second(figures: Json) -> str:
    """A row a width."""
    lines = [
        header(
            "width",
            "train, test accuracy",
            "study's attack, published",
            "loss threshold",
            "calibrated loss",
            "**LiRA**",
            "TPR at 1%",
        ),
        "|---:|---|---:|---|---|---|---|",
    ]
    for width, row in figures["second_study"]["widths"].items():
        found = row["attacks"]
        areas = (found[name]["auc"] for name in ("loss threshold", "calibrated loss", "LiRA online"))
        lines.append(
            f"| {width} | {accuracies(row)} | {row['auc_published']:.3f} | "
            f"{' | '.join(map(ranged, areas))} | {ranged(found['LiRA online']['tpr_at_1%'])} |"
        )
    return "\n".join(lines)


def fashion(figures: Json) -> str:
    """A row a setting."""
    lines = [
        header(
            "",
            "noise multiplier",
            "train, test accuracy",
            "shadow classifier",
            "calibrated loss",
            "RMIA",
            "**LiRA**",
            "LiRA: TPR at 1%",
            "at 0.1%",
            "epsilon shown, at least",
        ),
        "|---|---:|---|---|---|---|---|---|---|---:|",
    ]
    others = ("shadow classifier", "calibrated loss", "RMIA online")
    for name, row in figures["fashion_mnist"].items():
        found = row["attacks"]["LiRA online"]
        lines.append(
            f"| {name} | {row['noise_multiplier']:.3g} | {accuracies(row)} | "
            f"{' | '.join(ranged(row['attacks'][attack]['auc']) for attack in others)} | "
            f"{ranged(found['auc'])} | {ranged(found['tpr_at_1%'])} | {ranged(found['tpr_at_0.1%'])} | "
            f"{shown(row['epsilon_shown'])} |"
        )
    return "\n".join(lines)


def header(*titles: str) -> str:
    """The first line of a table."""
    return f"| {' | '.join(titles)} |"


def accuracies(row: Json) -> str:
    """On the half that was trained on, and on the other."""
    return f"{row['train_accuracy']:.3f}, {row['test_accuracy']:.3f}"


def ranged(found: list[float] | None) -> str:
    """A value with its interval."""
    return "not resolved" if found is None else f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})"


def shown(epsilon: float) -> str:
    """A lower bound, where there is one."""
    return f"{epsilon:.2f}" if epsilon else "below the limit"


def number(value: float | None, digits: int = 1) -> str:
    """A number, or that there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def picture(figures: Json) -> bytes:
    """LiRA on the three settings, beside what the two epsilons permit."""
    from clifftop.audit.document import AuditDocument, AuditKind, CurveRow, Verdict
    from clifftop.report.drawings.audits import draw_audits

    rows = figures["fashion_mnist"]
    names = ("fpr", "tpr", "lower", "upper")
    curves = [
        CurveRow(**{"name": name, **{part: tuple(row["curve"][part]) for part in names}})
        for name, row in rows.items()
    ]
    strict = rows["epsilon 1"]["curve"]
    document = AuditDocument(
        kind=AuditKind.MODEL,
        subject="LiRA on Fashion-MNIST; dashed, what epsilon 1 permits",
        claim="epsilon 1",
        verdict=Verdict.NOT_REFUTED,
        reason="",
        curves=tuple(curves),
        permitted=CurveRow(name="permitted", fpr=tuple(strict["fpr"]), tpr=tuple(strict["permitted"])),
    )
    return draw_audits((document,))[0].file("png")


def main() -> None:
    """Write both."""
    figures = json.loads(RECORD.read_text())["figures"]
    PAGE.write_text(filled(PAGE.read_text(), figures))
    PICTURE.write_bytes(picture(figures))


if __name__ == "__main__":
    main()
