"""The page on membership says what the record says, and the record what the issue asked."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "benchmarks/records/audit_membership.json").read_text())["figures"]


def lira(row):
    return row["attacks"]["LiRA online"]["auc"]


def test_the_page_has_the_records_tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "audits"))
    module = importlib.import_module("membership_page")
    page = module.PAGE.read_text()
    assert module.filled(page, FIGURES) == page
    changed = json.loads(json.dumps(FIGURES))
    changed["fashion_mnist"]["epsilon 8"]["attacks"]["LiRA online"]["auc"][0] += 0.01
    assert module.filled(page, changed) != page


def test_more_privacy_leaks_less_beyond_the_intervals():
    none, eight, one = (
        lira(FIGURES["fashion_mnist"][name]) for name in ("no privacy", "epsilon 8", "epsilon 1")
    )
    assert none[1] > eight[2]
    assert eight[1] > one[2]


def test_no_curve_passes_what_is_permitted():
    rows = [*FIGURES["fashion_mnist"].values()]
    rows += [row for level in FIGURES["first_study"].values() for row in level["seeds"].values()]
    counts = [count for row in rows for count in row["above_permitted"].values()]
    assert counts
    assert not any(counts)


@pytest.mark.parametrize("level", ["sigma 0.5", "sigma 2"])
def test_the_weak_attack_misses_what_lira_sees(level):
    row = FIGURES["first_study"][level]
    assert row["mean_over_seeds"]["LiRA online"]["auc"] > row["auc_of_the_studys_attack"][0] + 0.05


def test_what_the_page_says_of_correlations_is_in_the_record():
    page = (ROOT / "docs" / "membership.md").read_text()
    for name in ("log width", "gap"):
        found = FIGURES["second_study"]["correlations"][name]
        assert f"{found['r']:.3f}" in page
        assert f"{found['interval'][0]:.3f} to {found['interval'][1]:.3f}" in page
