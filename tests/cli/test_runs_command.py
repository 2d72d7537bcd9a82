"""`clifftop runs`: what is shown, filtered, sorted and written, on a store that a toy sweep wrote."""

import io
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from clifftop.cli.run_cells import cells, epsilon_text, measured, sparkline
from clifftop.lab.contract import RunSetting, StoreError
from clifftop.lab.reading.folders import open_runs
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SPECS = [
    toy_spec(seed=seed, noise_multiplier=sigma, lr=lr)
    for sigma in (1.0, 2.0, 100.0)
    for lr in (0.1, 1.0)
    for seed in range(5)
]
EPSILONS = {1.0: 1.000001, 2.0: 0.5, 100.0: 123456.7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    with Store.open(folder, study="toy") as store:
        run_sweep(store, SPECS, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        store.describe(
            RunSetting(
                run_id=spec.id,
                point={"lr": spec.optimizer.lr, "model.width": 8},
                delta=1e-5,
                epsilon_lower=EPSILONS[spec.noise_multiplier] * 0.9,
                epsilon_upper=EPSILONS[spec.noise_multiplier],
                neighboring_relation="zero-out",
            )
            for spec in SPECS
        )
    return folder


def lines(text):
    return [line.rstrip() for line in text.splitlines()]


def rows(text):
    """The rows of the table: from the rule to the empty line."""
    found = lines(text)
    rule = next(at for at, line in enumerate(found) if line.startswith("──"))
    return [line.split() for line in found[rule + 1 : found.index("", rule)]]


def test_the_table_holds_what_tells_runs_apart(run, folder):
    ran = run("runs", folder)
    assert (ran.code, ran.err) == (0, "")
    header = " ".join(lines(ran.out)[0:2])
    for name in ("id", "status", "noise_", "multiplier", "lr", "seed", "epsilon", "step", "accuracy", "loss"):
        assert name in header.split()
    assert "width" not in header
    shown = rows(ran.out)
    assert len(shown) == 20
    assert shown[0][:6] == [SPECS[0].id[: len(shown[0][0])], "done", "1", "0.1", "0", "1.001"]
    assert "every run: clip_norm=1, steps=6, optimizer=sgd, clipping=toy-clipping" in ran.out
    assert "model.width=8, delta=1e-5" in ran.out
    assert lines(ran.out)[-1] == "30 runs: 20 done, 10 diverged; 20 shown (--top 0 for all)"


def test_epsilon_comes_with_its_warning(run, folder):
    ran = run("runs", folder)
    assert "of that run alone" in ran.out
    assert "share their noise, so at most one of them may ever be released" in ran.out
    assert "of that run alone" not in run("runs", folder, "--columns", "id,accuracy").out


def test_filter_sort_and_top(run, folder):
    ran = run("runs", folder, "--where", "epsilon < 1 and lr == 1", "--sort", "accuracy", "--top", "3")
    table = open_runs(folder)
    best = table.filter(pl.col("epsilon") < 1, pl.col("lr") == 1).sort("accuracy", descending=True)
    size = len(rows(ran.out)[0][0])
    assert [row[0] for row in rows(ran.out)] == [run_id[:size] for run_id in best["id"][:3]]
    assert lines(ran.out)[-1] == "30 runs: 20 done, 10 diverged; 5 match; 3 shown (--top 0 for all)"
    worst = run("runs", folder, "--sort", "accuracy", "--ascending", "--top", "1")
    assert rows(worst.out)[0][0] == table.sort("accuracy")["id"][0][:size]
    assert len(rows(run("runs", folder, "--top", "0").out)) == 30


def test_what_is_no_number_comes_last(run, folder):
    for more in ((), ("--ascending",)):
        ran = run("runs", folder, "--sort", "loss", "--top", "0", "--columns", "status", *more)
        assert [row[0] for row in rows(ran.out)] == ["done"] * 20 + ["diverged"] * 10
    ran = run("runs", folder, "--sort", "status,seed", "--top", "3", "--columns", "status,seed")
    assert rows(ran.out) == [["diverged", "4"]] * 2 + [["diverged", "3"]]


def test_chosen_columns_are_shown_whole(run, folder):
    ran = run("runs", folder, "--columns", "id, accuracy,epsilon_lower,id", "--top", "1")
    (row,) = rows(ran.out)
    assert row[0] == SPECS[0].id
    assert row[2] == "0.9"
    assert "every run" not in ran.out


def test_nothing_matches(run, folder):
    ran = run("runs", folder, "--where", "lr > 5")
    assert ran.code == 0
    assert lines(ran.out)[-1] == "30 runs: 20 done, 10 diverged; 0 match"
    assert "──" not in ran.out


def test_json_holds_everything(run, folder):
    document = json.loads(run("runs", folder, "--json").out)
    assert document["study"] == "toy"
    assert document["counts"] == {"done": 20, "diverged": 10}
    assert (document["matching"], len(document["runs"])) == (30, 30)
    table = open_runs(folder)
    assert list(document["runs"][0]) == table.columns
    assert document["runs"][0]["accuracy"] == table["accuracy"][0]
    assert document["runs"][-1]["loss"] == "nan"
    few = json.loads(run("runs", folder, "--json", "--top", "2", "--columns", "id").out)
    assert few["runs"] == [{"id": SPECS[0].id}, {"id": SPECS[1].id}]


def test_csv_and_parquet_hold_the_same_numbers(run, folder, tmp_path):
    table = open_runs(folder)
    ran = run("runs", folder, "--csv")
    read = pl.read_csv(io.StringIO(ran.out), schema=table.schema)
    assert read.drop("error").equals(table.drop("error"))
    file = tmp_path / "runs.parquet"
    ran = run("runs", folder, "--parquet", file, "--where", "lr == 1")
    assert ran.out == f"15 runs in {file}\n"
    assert pl.read_parquet(file).equals(table.filter(pl.col("lr") == 1))
    assert [path.name for path in tmp_path.iterdir()] == ["runs.parquet"]


def test_a_sweep_under_way_can_be_read(run, tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        store.add([toy_spec(seed=9), toy_spec(seed=10)])
        with store.training():
            store.claim([toy_spec(seed=9).id])
            store.commit([toy_spec(seed=9).id], next(iter(ToyTrainer()([toy_spec(seed=9)]))))
            ran = run("runs", tmp_path)
    assert lines(ran.out)[-1] == "2 runs: 1 running, 1 pending"
    assert [row[1] for row in rows(ran.out)] == ["running", "pending"]


def test_a_table_is_of_one_moment_of_the_sweep(tmp_path):
    """Read again and again while another process writes: statuses, steps and metrics always agree."""
    script = Path(__file__).with_name("live_script.py")
    process = subprocess.Popen([sys.executable, script, tmp_path, "0.005", "60"], stdout=subprocess.DEVNULL)
    before, looks = 0, 0
    while process.poll() is None:
        if not (tmp_path / "store.sqlite").exists():
            continue
        try:
            table = open_runs(tmp_path)
        except StoreError:  # its tables are being made
            assert before == 0
            continue
        if "accuracy" not in table.columns:
            continue
        measured = table["accuracy"].is_not_null()
        assert (measured == (table["step"] > 0)).all()
        assert (table["status"].is_in(["done", "diverged"]) == (table["step"] == 6)).all()
        finished = (table["step"] == 6).sum()
        assert finished >= before
        before, looks = finished, looks + 1
    assert process.returncode == 0
    assert looks > 3
    assert open_runs(tmp_path)["status"].value_counts().sort("status").rows() == [
        ("diverged", 60),
        ("done", 60),
    ]


def test_an_older_store_says_what_to_do(run, folder, tmp_path):
    shutil.copy(folder / "store.sqlite", tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        db.execute("PRAGMA user_version = 1")
    for command in (("runs", tmp_path), ("show", tmp_path, "a")):
        assert "older version; " in run(*command).complaint


def test_failures_are_told(run, tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        store.add([toy_spec(seed=9)])
        store.fail([toy_spec(seed=9).id], "ValueError: no [such] thing")
    assert "ValueError: no [such] thing" in run("runs", tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--where", "acuracy > 1"), "did you mean accuracy?"),
        (("--where", "lr = 1"), "write == to compare"),
        (("--sort", "acuracy"), "did you mean accuracy?"),
        (("--columns", "id,sed"), "did you mean seed?"),
        (("--top", "-1"), "--top must be at least 0"),
        (("--json", "--csv"), "at most one of --json, --csv and --parquet"),
        (("--parquet", "nowhere/runs.parquet"), "runs.parquet"),
    ],
)
def test_bad_requests_end_in_one_line(run, folder, arguments, complaint):
    assert complaint in run("runs", folder, *arguments).complaint


def test_no_folder_and_no_store(run, tmp_path):
    assert "store.sqlite" in run("runs", tmp_path / "none").complaint
    (tmp_path / "store.sqlite").write_bytes(b"")
    assert "store.sqlite" in run("runs", tmp_path).complaint


def test_an_empty_store_is_no_error(run, tmp_path):
    Store.open(tmp_path, study="toy").close()
    assert run("runs", tmp_path).out == "no runs yet\n"


def test_reading_imports_neither_torch_nor_the_model(folder):
    """In a process of its own, with every way of output."""
    script = (
        "import sys; from clifftop.cli.entry import main\n"
        f"for more in ([], ['--json'], ['--csv'], ['--where', 'lr > 0.5', '--sort', 'loss']):\n"
        f"    assert main(['runs', {str(folder)!r}, *more]) == 0\n"
        f"assert main(['show', {str(folder)!r}, {SPECS[0].id!r}]) == 0\n"
        "loaded = {'torch', 'clifftop.testing', 'clifftop.plan'} & set(sys.modules)\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("width", [30, 50, 65, 200])
def test_a_narrow_terminal_loses_columns_not_digits(folder, width):
    from rich.console import Console

    from clifftop.cli.run_table import chosen_columns, run_table

    table = open_runs(folder)
    file = io.StringIO()
    console = Console(file=file, width=width)
    columns = chosen_columns(table)
    drawn, left_out = run_table(table, columns, console, id_length=6)
    console.print(drawn)
    assert max(map(len, file.getvalue().splitlines())) <= width
    assert "…" not in file.getvalue()
    assert "1.001" in file.getvalue()
    assert (left_out == []) == (width == 200)
    assert set(left_out).isdisjoint({"id", "status", "epsilon"})


def test_a_terminal_has_colours_unless_it_must_not(folder):
    from rich.console import Console

    from clifftop.cli.run_table import run_table

    def printed(**environment):
        console = Console(
            file=io.StringIO(), width=100, force_terminal=True, color_system="standard", _environ=environment
        )
        console.print(run_table(open_runs(folder), ["status"], console)[0])
        return console.file.getvalue()

    assert "\x1b[32m" in printed()
    assert "\x1b[33m" in printed()
    assert "\x1b[3" not in printed(NO_COLOR="1")


def test_numbers():
    assert cells("epsilon", [1.00001, math.inf, None]) == ["1.001", "∞", "–"]
    assert epsilon_text("epsilon_lower", 1.00099) == "1"
    assert epsilon_text("epsilon_lower", 12.3456) == "12.34"
    assert epsilon_text("epsilon_lower", 0.0) == "0"
    assert measured([0.81234, 0.5, None, math.nan]) == ["0.8123", "0.5000", "–", "nan"]
    assert measured([1234567.0, 0.5]) == ["1.235e6", "0.5"]
    assert measured([-2.0, 1.0]) == ["-2.000", "1.000"]
    assert measured([0.0, 0.0]) == ["0", "0"]
    assert measured([]) == []


def test_curves():
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([math.nan, math.inf]) == "··"
    assert sparkline([math.nan, 0.0, 1.0]) == "·▁█"
    long = sparkline([float(at) for at in range(1000)], width=8)
    assert long == "▁▂▃▄▅▆▇█"


def test_ids_are_as_long_as_it_takes(run, tmp_path):
    """Two ids that agree in eight characters are told apart."""
    spec = toy_spec()
    with Store.open(tmp_path, study="toy") as store:
        store.add([spec, replace(spec, seed=1)])
        with store._transaction() as db:
            db.execute("UPDATE run SET id = 'aaaaaaaa' || key || 'bbbbbbb'")
    assert [row[0] for row in rows(run("runs", tmp_path).out)] == ["aaaaaaaa1", "aaaaaaaa2"]


def test_a_pipe_is_never_cut(folder):
    """Standard output that is no terminal has one line a run, whatever COLUMNS says."""
    ran = subprocess.run(
        [sys.executable, "-m", "clifftop", "runs", str(folder), "--top", "0"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "30"},
    )
    assert len(rows(ran.stdout)) == 30
    assert "\x1b" not in ran.stdout
