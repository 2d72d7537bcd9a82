"""Other libraries under audit: the scripts start without them, and the page says what the record says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "audits" / "rivals"
FIGURES = json.loads((ROOT / "benchmarks/records/audit_rivals.json").read_text())["figures"]
ROWS = FIGURES["steps"]["rows"]


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("*.py")))
def test_every_script_compiles(script):
    compile((FOLDER / script).read_text(encoding="utf-8"), script, "exec")


def test_the_command_explains_itself_without_any_of_the_libraries():
    asked = subprocess.run(
        [sys.executable, "-I", str(FOLDER / "run.py"), "--help"], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    assert "--quick" in asked.stdout


def test_every_row_says_which_checks_passed_and_failed():
    checks = FIGURES["steps"]["checks"]
    for row in ROWS:
        for scope in row["scopes"].values():
            failed = [finding["check"] for finding in scope["findings"]]
            assert len(failed) + len(scope["passed"]) <= checks
            assert not set(failed) & set(scope["passed"])
            assert all(finding["found"] and finding["must_hold"] for finding in scope["findings"])


def test_the_same_checks_say_of_our_own_step_what_the_page_says():
    own = [row for row in ROWS if row["library"] == "clifftop"]
    assert len(own) == 4
    for row in own:
        (scope,) = row["scopes"].values()
        assert not scope["findings"]
        assert len(scope["passed"]) == FIGURES["steps"]["checks"]


def test_a_divisor_that_follows_the_data_is_seen_and_a_fixed_one_is_not():
    crossing, inside, ours = FIGURES["size"]["audits"]
    assert crossing["lower_bound"] > crossing["stated_epsilon"]
    assert inside["lower_bound"] <= inside["stated_epsilon"]
    assert ours["lower_bound"] <= ours["stated_epsilon"]


def test_the_training_is_not_refuted_and_its_negative_control_is():
    honest, control = FIGURES["training"]["rows"]
    assert not honest["findings"]
    assert "noise scale" in {finding["check"] for finding in control["findings"]}
    assert all(bound["epsilon"] <= honest["claimed_epsilon"][1] for bound in honest["bounds"].values())


def test_the_tables_of_the_page_are_the_record():
    spec = importlib.util.spec_from_file_location("rivals_tables", FOLDER / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = (ROOT / "docs" / "rivals_audited.md").read_text(encoding="utf-8")
    assert page == tables.filled(page, FIGURES), "run: benchmarks/audits/rivals/tables.py"
