"""Checking, exporting and merging stores."""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clifftop.cli.entry import main
from clifftop.files import FileWriteError
from clifftop.lab.contract import RunSetting, Status, StoreError
from clifftop.lab.migrations import MIGRATIONS
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import STORE_FILE, Store
from clifftop.lab.store.checking import check_store
from clifftop.lab.store.exporting import export_store
from clifftop.lab.store.merging import MergedStore, merge_stores
from clifftop.lab.tuning.streams import SecretStreams
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SPECS = [
    toy_spec(seed=seed, noise_multiplier={3: 100.0, 6: 1000.0}.get(seed, 1.0), lr=0.1 + seed)
    for seed in range(12)
]
IDS = [spec.id for spec in SPECS]


def train(folder, specs, *, blocks=None, study="toy"):
    """Train toy specs into a folder; ``blocks`` of the last cohort only, where given."""
    with Store.open(folder, study=study) as store:
        store.put_artifact("sweep.json", b"{}")
        whole = specs if blocks is None else specs[:-4]
        run_sweep(
            store,
            whole,
            trainer=ToyTrainer(),
            static_key=toy_static_key,
            cohort_size=toy_cohort_size,
        )
        if blocks is not None:
            store.add(specs)
            for block, _ in zip(ToyTrainer()(specs[-4:]), range(blocks), strict=False):
                store.commit([spec.id for spec in specs[-4:]], block)
        store.describe(
            RunSetting(
                run_id=spec.id,
                point={"lr": spec.optimizer.lr},
                delta=1e-5,
                epsilon_lower=1.0,
                epsilon_upper=1.5,
                neighboring_relation="add-remove",
            )
            for spec in specs
        )
    return folder


def rows(folder):
    """Everything about runs, whatever their order and keys."""
    with Store.read(folder) as store:
        return (
            sorted(store.query("SELECT id, spec, status, step, diverged FROM run")),
            store.query(
                "SELECT id, name, m.step, value FROM metric AS m JOIN run ON run = key ORDER BY 1, 2, 3"
            ),
            store.query(
                "SELECT id, name, first_step, total, vals FROM trace JOIN run ON run = run.key "
                "ORDER BY 1, 2, 3"
            ),
            sorted(store.query("SELECT id, point, epsilon_upper FROM setting JOIN run ON run = key")),
            sorted(store.query("SELECT cohort, runs, step, state FROM checkpoint")),
        )


def one_line(call, *names):
    with pytest.raises((StoreError, FileWriteError)) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    for name in names:
        assert str(name) in line
    return line


def change(folder, *statements):
    with sqlite3.connect(folder / STORE_FILE) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


# ---------------------------------------------------------------- check


def test_a_sound_store(tmp_path):
    train(tmp_path, SPECS, blocks=1)
    with Store.read(tmp_path) as store:
        found = check_store(store)
    assert found.problems == ()
    assert found.statuses == {"diverged": 2, "done": 6, "running": 4}
    assert (found.study, found.cohorts_under_way, found.trainers) == ("toy", 1, 0)
    assert found.size_bytes == (tmp_path / STORE_FILE).stat().st_size


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE run SET spec = replace(spec, '0.1', '0.3') WHERE key = 1", "must be named by its spec"),
        ("UPDATE run SET id = '0000000000000000' WHERE key = 12", "must be named by its spec"),
        ("DELETE FROM run WHERE key = 1", "belongs to no run"),
        ("UPDATE run SET status = 'pending' WHERE key = 1", "has numbers, and must have begun"),
        ("UPDATE run SET status = 'running' WHERE key = 1", "must be in a cohort under way, found none"),
        ("UPDATE run SET status = 'done' WHERE key = 12", "under way must be running, found done"),
        ("DELETE FROM checkpoint", "must be in a cohort under way, found none"),
        ("UPDATE checkpoint SET runs = '7'", "must list its runs"),
        ("UPDATE checkpoint SET runs = '[]'", "must be named by its runs"),
        ("UPDATE checkpoint SET cohort = 'x'", "must be named by its runs"),
        ("INSERT INTO checkpoint SELECT 'x', runs, step, state FROM checkpoint", "found two"),
        ("UPDATE run SET diverged = 0", "must be marked as diverged exactly"),
        ("UPDATE run SET status = 'failed', step = 0 WHERE key = 12", "must say why"),
        ("UPDATE metric SET step = 9 WHERE run = 1 AND step = 6", "beyond its last step"),
        ("DELETE FROM trace WHERE run = 1 AND first_step = 3", "must have a diagnostic for each step"),
        ("UPDATE trace SET first_step = 2 WHERE run = 1 AND first_step = 1", "a diagnostic for each step"),
        ("UPDATE trace SET vals = x'00' WHERE run = 1 AND first_step = 3", "a diagnostic for each step"),
    ],
)
def test_broken_promises_are_named(damage, problem, tmp_path):
    change(train(tmp_path, SPECS, blocks=1), damage)
    with Store.read(tmp_path) as store:
        problems = check_store(store).problems
    assert any(problem in found for found in problems), problems
    assert all("\n" not in found for found in problems)


def test_a_thousand_problems_are_not_all_listed(tmp_path):
    train(tmp_path, [toy_spec(seed=seed) for seed in range(30)])
    change(tmp_path, "UPDATE run SET diverged = 1")
    with Store.read(tmp_path) as store:
        assert len(check_store(store).problems) == 20


# ---------------------------------------------------------------- export


def test_what_is_exported(tmp_path):
    train(tmp_path / "r", SPECS, blocks=1)
    with Store.read(tmp_path / "r") as store:
        manifest = export_store(store, tmp_path / "out" / "deep")
        out = tmp_path / "out" / "deep"
        names = {"runs.parquet", "metrics.parquet", "trace.parquet", "specs.jsonl", "sweep.json"}
        assert manifest["files"].keys() == names
        assert {path.name for path in out.iterdir()} == names | {"manifest.json"}
        assert json.loads((out / "manifest.json").read_text()) == manifest
        for name, about in manifest["files"].items():
            content = (out / name).read_bytes()
            assert about["sha256"] == hashlib.sha256(content).hexdigest()
            assert about["bytes"] == len(content)
        assert pl.read_parquet(out / "runs.parquet")["id"].to_list() == IDS
        metrics = pl.read_parquet(out / "metrics.parquet")
        assert metrics.height == store.query("SELECT count(*) FROM metric")[0][0]
        trace = pl.read_parquet(out / "trace.parquet")
        assert trace.columns == ["id", "step", "loss", "noise_norm"]
        for spec, status in zip(SPECS[:1], ["done"], strict=True):
            expected = np.concatenate([block.trace["noise_norm"][0] for block in ToyTrainer()([spec])])
            mine = trace.filter(pl.col("id") == spec.id)
            assert mine["step"].to_list() == [1, 2, 3, 4, 5, 6]
            assert mine["noise_norm"].to_numpy().tolist() == expected.tolist()
            assert status == "done"
        assert trace.height == 7 * 6 + 2 + 4 * 2  # finished, diverged at step 2, under way
    specs = [json.loads(line) for line in (out / "specs.jsonl").read_text().splitlines()]
    assert [line["id"] for line in specs] == IDS
    assert specs[0]["spec"] == json.loads(SPECS[0].canonical)


def test_csv_has_the_same_tables(tmp_path):
    train(tmp_path / "r", SPECS[:4])
    with Store.read(tmp_path / "r") as store:
        export_store(store, tmp_path / "out", csv=True)
        export_store(store, tmp_path / "out")
    for name in ("runs", "metrics", "trace"):
        csv = pl.read_csv(io.BytesIO((tmp_path / "out" / f"{name}.csv").read_bytes()))
        parquet = pl.read_parquet(tmp_path / "out" / f"{name}.parquet")
        assert csv.columns == parquet.columns
        assert csv["id"].to_list() == parquet["id"].to_list()


def test_an_empty_store_can_be_exported(tmp_path):
    with Store.open(tmp_path / "r", study="toy") as store:
        manifest = export_store(store, tmp_path / "out")
    assert {about["rows"] for about in manifest["files"].values()} == {0}


def test_neither_a_noise_seed_nor_the_secret_of_streams_is_exported(tmp_path):
    secret = 2**200 + 12345
    own, hidden = replace(toy_spec(), noise_seed=secret), replace(toy_spec(), streams=SecretStreams(secret))
    with Store.open(tmp_path / "r", study="toy") as store:
        store.add([own, hidden, toy_spec(seed=1)])
        export_store(store, tmp_path / "out")
    text = (tmp_path / "out" / "specs.jsonl").read_text()
    assert str(secret) not in text
    assert text.count('"noise_seed": null') == 2
    assert all(str(secret) not in path.read_text(errors="ignore") for path in (tmp_path / "out").iterdir())


def test_an_export_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    train(tmp_path / "r", SPECS[:4])
    (tmp_path / "file").write_text("")
    with Store.read(tmp_path / "r") as store:
        one_line(lambda: export_store(store, tmp_path / "file"), "file")
        (tmp_path / "out").mkdir()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert "No space left" in one_line(lambda: export_store(store, tmp_path / "out"), "out")
    assert list((tmp_path / "out").iterdir()) == []


# ---------------------------------------------------------------- merge


@pytest.fixture
def whole(tmp_path):
    return rows(train(tmp_path / "whole", SPECS))


def test_finished_runs_of_both(whole, tmp_path):
    a, b = train(tmp_path / "a", SPECS[:8]), train(tmp_path / "b", SPECS[4:])
    before = (rows(a), rows(b))
    made = merge_stores(a, b, tmp_path / "new" / "c")
    assert made == MergedStore(runs=12, added=4, finished_by_second=4, agreed=4)
    assert rows(tmp_path / "new" / "c") == whole
    assert (rows(a), rows(b)) == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["c"]
    with Store.read(tmp_path / "new" / "c") as store:
        assert check_store(store).problems == ()
        assert store.artifact("sweep.json") == b"{}"
        events = store.query("SELECT at, kind FROM event ORDER BY key")
        assert [at for at, _ in events] == sorted(at for at, _ in events)
        assert [kind for _, kind in events].count("sweep_started") == 2


@pytest.mark.parametrize("turned", [False, True])
def test_finished_wins_over_unfinished(turned, whole, tmp_path):
    a, b = train(tmp_path / "a", SPECS, blocks=1), train(tmp_path / "b", SPECS)
    first, second = (b, a) if turned else (a, b)
    made = merge_stores(first, second, tmp_path / "c")
    assert (made.runs, made.added, made.finished_by_second) == (12, 0, 0 if turned else 4)
    assert rows(tmp_path / "c") == whole


@pytest.mark.parametrize("turned", [False, True])
def test_the_cohort_that_is_further_goes_on(turned, whole, tmp_path):
    """A cohort has one block in the one store and two in the other; the merged store can be resumed."""
    a, b = train(tmp_path / "a", SPECS, blocks=1), train(tmp_path / "b", SPECS, blocks=2)
    merge_stores(*((b, a) if turned else (a, b)), tmp_path / "c")
    with Store.read(tmp_path / "c") as store:
        assert [held.step for held in store.checkpoints()] == [4]
        assert check_store(store).problems == ()
    assert rows(tmp_path / "c") == rows(b)
    train(tmp_path / "c", SPECS)
    assert rows(tmp_path / "c") == whole


def test_a_cohort_of_which_a_run_has_finished_elsewhere_starts_again(whole, tmp_path):
    """The second has the first run of the first's cohort under way done; the others are pending then."""
    a, b = train(tmp_path / "a", SPECS, blocks=2), train(tmp_path / "b", SPECS[8:9])
    merge_stores(a, b, tmp_path / "c")
    with Store.read(tmp_path / "c") as store:
        statuses = list(store.statuses().values())
        assert statuses[8:] == [Status.DONE, *[Status.PENDING] * 3]
        assert store.checkpoints() == []
        assert check_store(store).problems == ()
    merge_stores(b, a, tmp_path / "d")
    with Store.read(tmp_path / "d") as store:
        assert [store.statuses()[i] for i in IDS[8:]] == [Status.DONE, *[Status.PENDING] * 3]
        assert check_store(store).problems == ()
    for folder in ("c", "d"):
        train(tmp_path / folder, SPECS)
        assert rows(tmp_path / folder) == whole


def test_failed_runs_and_cohort_sizes_come_along(tmp_path):
    a, b = train(tmp_path / "a", SPECS[:4]), train(tmp_path / "b", SPECS[4:8])
    with Store.open(b, study="toy") as store:
        store.add(SPECS[8:10])
        store.fail(IDS[8:9], "ValueError: because")
        store.cohort_size("key", lambda: 7)
        store.put_artifact("cost.json", b"newer")
    merge_stores(a, b, tmp_path / "c")
    with Store.read(tmp_path / "c") as store:
        assert store.query("SELECT status, error FROM run ORDER BY key LIMIT 2 OFFSET 8") == [
            ("failed", "ValueError: because"),
            ("pending", None),
        ]
        assert store.query("SELECT * FROM cohort_size") == [("key", 7)]
        assert store.artifact("cost.json") == b"newer"


def test_a_store_that_is_being_trained_can_be_merged(tmp_path):
    a, b = train(tmp_path / "a", SPECS[:4]), train(tmp_path / "b", SPECS[:4])
    with Store.open(a, study="toy") as store, store.training():
        store.add(SPECS[4:8])
        store.claim(IDS[4:8])
        merge_stores(a, b, tmp_path / "c")
    with Store.read(tmp_path / "c") as store:
        assert (store.trainers(), store.claimed()) == (0, frozenset())
        assert store.query("SELECT count(*) FROM claim") == [(0,)]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE metric SET value = value + 0.001 WHERE run = 2 AND name = 'loss'", "loss at step "),
        ("UPDATE metric SET value = NULL WHERE run = 2 AND name = 'loss' AND step = 4", "loss at step 4"),
        ("DELETE FROM metric WHERE run = 2 AND step = 6 AND name = 'accuracy'", "accuracy at step 6"),
        ("UPDATE run SET status = 'diverged', diverged = 1 WHERE key = 2", "done at step 6"),
        ("UPDATE run SET step = 4 WHERE key = 2", "done at step 4"),
    ],
)  # fmt: skip
def test_runs_that_ended_differently_are_refused(damage, found, tmp_path):
    a, b = train(tmp_path / "a", SPECS[:4]), train(tmp_path / "b", SPECS[:4])
    change(b, damage)
    for first, second in ((a, b), (b, a)):
        line = one_line(
            lambda first=first, second=second: merge_stores(first, second, tmp_path / "c"), IDS[1]
        )
        assert found in line
        assert str(a) in line
        assert str(b) in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_small_differences_are_agreement(tmp_path):
    a, b = train(tmp_path / "a", SPECS[:4]), train(tmp_path / "b", SPECS[:4])
    change(b, "UPDATE metric SET value = value * (1 + 5e-7) WHERE run = 2")
    assert merge_stores(a, b, tmp_path / "c").agreed == 4
    change(b, "UPDATE metric SET value = value * 1.001 WHERE run = 2")
    one_line(lambda: merge_stores(a, b, tmp_path / "d"), IDS[1])
    assert merge_stores(a, b, tmp_path / "d", tolerance=0.01).agreed == 4


def test_other_sweeps_are_refused(tmp_path):
    a, b = train(tmp_path / "a", SPECS[:4]), train(tmp_path / "b", SPECS[:4], study="other")
    assert "study='toy'" in one_line(lambda: merge_stores(a, b, tmp_path / "c"), a, b, "study='other'")
    with Store.open(train(tmp_path / "d", SPECS[:4]), study="toy") as store:
        store.put_artifact("sweep.json", b"[]")
    one_line(lambda: merge_stores(a, tmp_path / "d", tmp_path / "c"), a, tmp_path / "d", "sweep.json")
    assert not (tmp_path / "c").exists()


def test_folders_that_cannot_be_merged(tmp_path):
    a = train(tmp_path / "a", SPECS[:4])
    one_line(lambda: merge_stores(a, a, a), "must make a new folder", a)
    one_line(lambda: merge_stores(a, tmp_path / "none", tmp_path / "c"), tmp_path / "none")
    (tmp_path / "file").write_text("")
    one_line(lambda: merge_stores(a, a, tmp_path / "file" / "c"), "file")
    bad = shutil.copytree(a, tmp_path / "bad")
    whole = (bad / STORE_FILE).read_bytes()
    (bad / STORE_FILE).write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in one_line(lambda: merge_stores(a, bad, tmp_path / "c"), bad / STORE_FILE)
    (bad / STORE_FILE).write_bytes(b"")
    one_line(lambda: merge_stores(a, bad, tmp_path / "c"), bad / STORE_FILE)
    (bad / STORE_FILE).write_bytes(whole)
    change(bad, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    assert "newer version" in one_line(lambda: merge_stores(a, bad, tmp_path / "c"), bad / STORE_FILE)
    (bad / STORE_FILE).unlink()
    change(bad, "CREATE TABLE recipe (name TEXT)")
    assert "another program's" in one_line(lambda: merge_stores(a, bad, tmp_path / "c"), bad / STORE_FILE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "bad", "file"]


def test_a_full_disk_leaves_no_half_of_a_merge(tmp_path):
    """The operating system refuses the write (here by a limit on file size, as a full disk would)."""
    a, b = train(tmp_path / "a", SPECS[:4]), train(tmp_path / "b", [toy_spec(seed=s) for s in range(400)])
    script = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from clifftop.lab.store.merging import merge_stores
from clifftop.lab.contract import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    merge_stores(*map(Path, sys.argv[1:4]))
except StoreError as error:
    print(error)
"""
    for limit in (60_000, 600_000):  # while copying, and while merging
        command = [sys.executable, "-c", script, a, b, tmp_path / "c", limit]
        out = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
        (line,) = out.splitlines()
        assert "cannot be written" in line or "disk is full" in line
        assert str(tmp_path / "c") in line
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_older_format_is_merged_in_the_newest(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(Path(__file__).parent / "stores" / "format_1.sqlite", old / STORE_FILE)
    before = (old / STORE_FILE).read_bytes()
    made = merge_stores(old, old, tmp_path / "c")
    assert (made.runs, made.agreed) == (4, 2)
    assert (old / STORE_FILE).read_bytes() == before
    with Store.read(tmp_path / "c") as store:
        assert check_store(store).problems == ()
        assert [held.step for held in store.checkpoints()] == [30]


# ---------------------------------------------------------------- a folder that may not be written


READER = """
import contextlib, io, os, sys
from clifftop.cli.entry import main
warm, *arguments = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):  # nobody may not read the modules where root has them
    main(["store", "check", warm])
    main(["store", "export", warm, "--out", f"{warm}/e"])
    main(["store", "merge", warm, warm, "--out", f"{warm}/m{os.getpid()}"])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(arguments))
"""


@pytest.fixture
def open_folder():
    """A folder that others may enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become nobody")
def test_a_read_only_folder_can_be_read_and_is_refused_in_one_line_to_write(open_folder):
    folder, warm = train(open_folder / "r", SPECS[:4]), str(train(open_folder / "warm", SPECS[:4]))
    (folder / STORE_FILE).chmod(0o644)
    folder.chmod(0o755)

    def run(*arguments):
        command = [sys.executable, "-c", READER, warm, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    checked = run("store", "check", folder)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("sound\n")
    with Store.open(folder, study="toy") as store, store.training():  # beside one who may write
        store.add(SPECS[4:5])
        beside = run("store", "check", folder, "--json")
        assert beside.stderr == ""
        assert (json.loads(beside.stdout)["trainers"], json.loads(beside.stdout)["problems"]) == (1, [])
    for arguments in (
        ("store", "merge", folder, folder, "--out", folder / "c"),
        ("store", "export", folder, "--out", folder),
    ):
        refused = run(*arguments)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert str(folder) in refused.stderr
    assert [path.name for path in folder.iterdir()] == [STORE_FILE]


# ---------------------------------------------------------------- the command


def test_the_commands(tmp_path, capsys):
    a, b = train(tmp_path / "a", SPECS[:8], blocks=1), train(tmp_path / "b", SPECS[4:])
    assert main(["store", "check", str(a)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "1 cohorts under way, 0 processes train now",
        "sound",
    ]
    assert main(["store", "check", str(a), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statuses"] == {"diverged": 2, "done": 3, "running": 3}
    assert main(["store", "merge", str(a), str(b), "--out", str(tmp_path / "c"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished_by_second"] == 7
    assert main(["store", "merge", str(a), str(b), "--out", str(tmp_path / "d")]) == 0
    assert capsys.readouterr().out.startswith(f"12 runs in {tmp_path / 'd'}: 4 of them new to the first, 7 ")
    assert main(["store", "export", str(tmp_path / "c"), "--out", str(tmp_path / "e"), "--csv"]) == 0
    assert f"digests: {tmp_path / 'e' / 'manifest.json'}" in capsys.readouterr().out
    assert main(["store", "export", str(tmp_path / "c"), "--out", str(tmp_path / "e"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "toy"


def test_the_commands_refuse_in_one_line(tmp_path, capsys):
    a = train(tmp_path / "a", SPECS[:4])
    for arguments in (
        ["store", "check", str(tmp_path / "none")],
        ["store", "merge", str(a), str(tmp_path / "none"), "--out", str(tmp_path / "c")],
        ["store", "merge", str(a), str(a), "--out", str(tmp_path / "c"), "--tolerance", "-1"],
        ["store", "export", str(tmp_path / "none"), "--out", str(tmp_path / "c")],
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) == 1
        assert captured.out == ""
    change(a, "UPDATE run SET diverged = 1")
    assert main(["store", "check", str(a)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "not sound"
