"""The page on scores says what the record of its benchmark says."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FIGURES = json.loads((ROOT / "benchmarks/records/small_class.json").read_text())["figures"]
PAGE = (ROOT / "docs/scores.md").read_text()
ARMS = {"neither": "neither", "noise alone": "noise", "clipping alone": "clipping", "both": "both"}


def points(values) -> str:
    mean, low, high = (f"{100 * value:.1f}" for value in values)
    return f"{mean} [{low}, {high}]"


@pytest.mark.parametrize("title", ARMS)
def test_the_rows_of_the_table_are_the_record(title):
    found = FIGURES["own_lr"][ARMS[title]]
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {title} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    shares = [found[f"clipped[group={group}]"] for group in ("common", "rare")]
    assert cells[1:] == [
        f"{found['lr']:g}",
        *(f"{found[f'accuracy[group={group}]']:.3f}" for group in ("common", "rare")),
        *("0" if share == 0 else f"{share:.2f}" for share in shares),
        "" if title == "neither" else points(found["difference_rare"]),
    ]


def test_the_sentences_are_the_record():
    own, same = FIGURES["own_lr"], FIGURES["lr_1"]
    both, plain, text = own["both"], own["neither"], " ".join(PAGE.split())
    for said in (
        f"falls from {plain['accuracy']:.3f} to {both['accuracy']:.3f}",
        (
            f"lose {-100 * both['difference_common'][0]:.1f} points and the rare one "
            f"{-100 * both['difference_rare'][0]:.1f}"
        ),
        f"(lr = 1) it costs {-100 * same['clipping']['difference_rare'][0]:.1f}",
        (
            f"({plain['ece']:.3f}, floor {plain['ece_floor']:.3f}) to {both['ece']:.3f} "
            f"(floor {both['ece_floor']:.3f})"
        ),
        f"means over {FIGURES['seeds']} seeds",
        f"{FIGURES['kept_of_the_rare_class']} of its rows",
    ):
        assert said in text, said
