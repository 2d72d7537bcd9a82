"""The SQLite store: the conformance suite, files that are refused, full disks, two processes."""

import contextlib
import dataclasses
import math
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from clifftop.lab.contract import Claimed, RunSetting, Status, StoreError
from clifftop.lab.migrations import APPLICATION_ID, MIGRATIONS
from clifftop.lab.store import STORE_FILE, Store
from clifftop.testing.stores import STORE_CHECKS, ToyBlock, ToyTrainer, toy_spec


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_conforms(check, tmp_path):
    check(lambda: Store.open(tmp_path / "results", study="toy"))


class Faulty:
    """A store that misbehaves in one way: what the conformance suite is there to catch."""

    def __init__(self, inner, **replaced):
        self._inner, self._replaced = inner, replaced

    def __getattr__(self, name):
        if name in self._replaced:
            return lambda *args, **kwargs: self._replaced[name](self._inner, *args, **kwargs)
        return getattr(self._inner, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._inner.close()


def adds_again(store, specs):
    store.add(specs)
    return len(list(specs))


def commits_in_two_steps(store, run_ids, block, **_):
    store.commit(run_ids, dataclasses.replace(block, trace={}))
    store.commit(run_ids, dataclasses.replace(block, metrics={}))


def rounds_numbers(store, run_ids, block, **_):
    metrics = {name: (steps, np.round(values, 6)) for name, (steps, values) in block.metrics.items()}
    store.commit(run_ids, dataclasses.replace(block, metrics=metrics))


def forgets_divergence(store, run_ids, block, **_):
    store.commit(run_ids, dataclasses.replace(block, diverged=np.zeros(len(run_ids), dtype=bool)))


def diverges_at_the_end(store, run_ids, block, **_):
    late = block.diverged if block.finished else np.zeros(len(run_ids), dtype=bool)
    everyone = np.ones(len(run_ids), dtype=bool)
    store.commit(run_ids, dataclasses.replace(block, diverged=late, trained=everyone))


def writes_every_row(store, run_ids, block, **_):
    store._db.execute("UPDATE run SET status = 'running' WHERE status = 'diverged'")
    store.commit(run_ids, dataclasses.replace(block, trained=np.ones(len(run_ids), dtype=bool)))


def swaps_runs(store, run_ids, block, **_):
    store.commit(tuple(reversed(run_ids)), block)


def commits_for_anybody(store, run_ids, block, **_):
    store._db.execute("DELETE FROM claim")
    seat, store._seat = store._seat, None
    store.commit(run_ids, block)
    store._seat = seat


def fails_named_runs_only(store, run_ids, error):
    store._db.executemany(
        "UPDATE run SET status = 'failed', error = ? WHERE id = ?", [(error, i) for i in run_ids]
    )


def claims_anything(store, run_ids):
    store._db.execute("DELETE FROM claim")
    return store.claim(run_ids)


def keeps_claims_of_the_dead(store, run_ids):
    free = [
        i for i in run_ids if not store.query("SELECT 1 FROM claim JOIN run ON run = key WHERE id = ?", (i,))
    ]
    return store.claim(free)


def starts_cohorts_again(store, run_ids):
    claimed = store.claim(run_ids)
    return Claimed(run_ids=tuple(i for held in claimed.checkpoints for i in held.run_ids) + claimed.run_ids)


def splits_cohorts(store, run_ids):
    if store.query("SELECT count(*) FROM checkpoint") == [(1,)] and len(run_ids) < 4:
        return Claimed(run_ids=tuple(run_ids))
    return store.claim(run_ids)


def trains_without_a_seat(store):
    return contextlib.nullcontext()


def describes_one_by_one(store, settings):
    for setting in settings:
        store.describe([setting])


def describes_once(store, settings):
    store.describe(setting for setting in settings if setting.run_id not in store.settings())


def counts_itself_only(store):
    return 1


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("check_added_once", {"add": adds_again}),
        ("check_blocks_kept", {"commit": rounds_numbers}),
        ("check_blocks_kept", {"commit": swaps_runs}),
        ("check_blocks_kept", {"checkpoints": lambda store: []}),
        ("check_divergence_is_a_result", {"commit": forgets_divergence}),
        ("check_early_divergence", {"commit": diverges_at_the_end}),
        ("check_early_divergence", {"fail": fails_named_runs_only}),
        ("check_rows_of_ended_runs_ignored", {"commit": diverges_at_the_end}),
        ("check_rows_of_ended_runs_ignored", {"commit": writes_every_row}),
        ("check_refused_block_leaves_nothing", {"commit": commits_in_two_steps}),
        ("check_failure_forgets_whole_cohorts", {"fail": fails_named_runs_only}),
        ("check_claims_have_one_owner", {"training": trains_without_a_seat}),
        ("check_claims_have_one_owner", {"claim": claims_anything}),
        ("check_claims_have_one_owner", {"commit": commits_for_anybody}),
        ("check_claims_have_one_owner", {"claimed": lambda store: frozenset()}),
        ("check_claims_have_one_owner", {"trainers": counts_itself_only}),
        ("check_cohorts_go_on_whole", {"claim": starts_cohorts_again}),
        ("check_cohorts_go_on_whole", {"claim": splits_cohorts}),
        ("check_the_dead_own_nothing", {"claim": keeps_claims_of_the_dead}),
        ("check_the_dead_own_nothing", {"claim": claims_anything}),
        ("check_the_dead_own_nothing", {"training": trains_without_a_seat}),
        ("check_settings", {"describe": describes_one_by_one}),
        ("check_settings", {"describe": describes_once}),
        ("check_artifacts", {"artifact": lambda store, name: store.artifact(name) or None}),
        ("check_cohort_size_is_decided_once", {"cohort_size": lambda store, key, measure: measure()}),
        ("check_timeline", {"record": lambda store, kind, **detail: store.record(kind)}),
    ],
)
def test_the_suite_catches_a_faulty_store(check, fault, tmp_path):
    chosen = next(one for one in STORE_CHECKS if one.__name__ == check)
    with pytest.raises((AssertionError, StoreError)):
        chosen(lambda: Faulty(Store.open(tmp_path, study="toy"), **fault))


def test_every_check_can_fail():
    """Each check of the suite has a broken store above that it catches."""
    (parametrised,) = test_the_suite_catches_a_faulty_store.pytestmark
    assert {check for check, _ in parametrised.args[1]} == {check.__name__ for check in STORE_CHECKS}


# ---------------------------------------------------------------- files that are refused


def refused(call, *, names):
    with pytest.raises(StoreError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert str(names) in str(caught.value)
    return str(caught.value)


def filled(folder):
    """A store with finished, running and pending runs."""
    specs = [toy_spec(seed=seed) for seed in range(12)]
    ids = [spec.id for spec in specs]
    with Store.open(folder, study="toy") as store:
        store.add(specs)
        for block in ToyTrainer()(specs[:4]):
            store.commit(ids[:4], block)
        store.commit(ids[4:8], next(iter(ToyTrainer()(specs[4:8]))))
    return folder / STORE_FILE


def test_another_study_is_refused_and_nothing_changes(tmp_path):
    path = filled(tmp_path)
    before = path.read_bytes()
    line = refused(lambda: Store.open(tmp_path, study="no-cliff"), names=path)
    assert "study='no-cliff'" in line
    assert "study='toy'" in line
    assert path.read_bytes() == before
    with Store.read(tmp_path) as store:
        assert store.study == "toy"


@pytest.mark.parametrize("open_it", [lambda folder: Store.open(folder, study="toy"), Store.read])
def test_a_file_that_is_no_store_is_refused_untouched(open_it, tmp_path):
    path = tmp_path / STORE_FILE
    path.write_text("these are notes, longer than the header of a database, and no database at all\n" * 9)
    before = path.read_bytes()
    assert "is damaged or no SQLite file" in refused(lambda: open_it(tmp_path), names=path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipe (name TEXT)")
    db.close()
    foreign = path.read_bytes()
    assert "another program's database" in refused(lambda: open_it(tmp_path), names=path)
    assert path.read_bytes() == foreign != before


def test_a_truncated_store_is_refused(tmp_path):
    path = filled(tmp_path)
    whole = path.read_bytes()
    for length in (50, 4096, len(whole) // 2):
        path.write_bytes(whole[:length])

        def use():
            with Store.open(tmp_path, study="toy") as store:
                store.check()

        assert "is damaged" in refused(use, names=path)


def test_damage_inside_is_found(tmp_path):
    path = filled(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[4096 * 3 : 4096 * 9] = b"\xa5" * 4096 * 6
    path.write_bytes(whole)

    def use():
        with Store.read(tmp_path) as store:
            store.check()

    assert "is damaged" in refused(use, names=path)


def test_a_newer_format_is_refused(tmp_path):
    path = filled(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    for open_it in (lambda: Store.open(tmp_path, study="toy"), lambda: Store.read(tmp_path)):
        assert "newer version" in refused(open_it, names=path)


def test_folders_that_cannot_hold_a_store(tmp_path):
    (tmp_path / "file").write_text("")
    refused(lambda: Store.open(tmp_path / "file", study="toy"), names="file")
    refused(lambda: Store.read(tmp_path / "nowhere"), names="nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "folder" / STORE_FILE).mkdir(parents=True)
    refused(lambda: Store.open(tmp_path / "folder", study="toy"), names=STORE_FILE)


def test_a_store_that_died_at_birth_is_completed(tmp_path):
    (tmp_path / STORE_FILE).touch()
    refused(lambda: Store.read(tmp_path), names=STORE_FILE)
    with Store.open(tmp_path, study="toy") as store:
        assert store.study == "toy"
        store.query("DELETE FROM sweep")  # killed after the tables, before the name
    with Store.open(tmp_path, study="toy") as store:
        assert store.study == "toy"


def test_an_unsettled_store_can_be_read(tmp_path):
    with Store.open(tmp_path, study="toy") as writer:
        writer.add([toy_spec()])
        copy = shutil.copytree(tmp_path, tmp_path / "copy")  # as a killed process leaves it, with its log
        with Store.read(copy) as reader, Store.read(tmp_path) as beside:
            assert reader.statuses() == beside.statuses() == {toy_spec().id: Status.PENDING}
        with Store.read(tmp_path) as beside, pytest.raises(StoreError, match="cannot be opened or written"):
            beside.add([toy_spec(seed=1)])


# ---------------------------------------------------------------- a full disk


def test_a_full_disk_is_one_line_and_the_store_goes_on(tmp_path):
    specs = [toy_spec(seed=seed, steps=4000) for seed in range(8)]
    ids = [spec.id for spec in specs]
    first, second = ToyTrainer(block_steps=2000)(specs)
    with Store.open(tmp_path, study="toy") as store:
        store.add(specs)
        store.commit(ids, first)
        before = (store.checkpoints(), store.statuses(), store.query("SELECT count(*) FROM metric"))
        large_setting = RunSetting(
            run_id=ids[0],
            point={"model.name": "x" * 100_000},
            delta=1e-5,
            epsilon_lower=1.0,
            epsilon_upper=1.0,
            neighboring_relation="add-remove",
        )
        (pages,) = store.query("PRAGMA page_count")[0]
        store.query(f"PRAGMA max_page_count = {pages + 3}")
        for call in (
            lambda: store.commit(ids, second),
            lambda: store.add(toy_spec(seed=seed) for seed in range(100, 200)),
            lambda: store.put_artifact("big", b"x" * 100_000),
            lambda: store.describe([large_setting]),
        ):
            assert "the disk is full" in refused(call, names=tmp_path / STORE_FILE)
        assert (store.checkpoints(), store.statuses(), store.query("SELECT count(*) FROM metric")) == before
        store.query("PRAGMA max_page_count = 1000000")
        store.commit(ids, second)
        assert set(store.statuses().values()) == {Status.DONE}
        store.check()


def test_a_file_that_may_not_grow_is_one_line(tmp_path):
    """The operating system refuses the write (here by a limit on file size, as a full disk would)."""
    script = """
import resource, sys
from clifftop.lab.store import Store
from clifftop.lab.contract import StoreError
from clifftop.testing.stores import toy_spec
with Store.open(sys.argv[1], study="toy") as store:
    store.add([toy_spec()])
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        store.add(toy_spec(seed=seed) for seed in range(1000))
    except StoreError as error:
        print(error)
        print(len(store.statuses()))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    line, count = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert str(tmp_path / STORE_FILE) in line
    assert "cannot be written" in line or "disk is full" in line
    assert count == "1"
    with Store.open(tmp_path, study="toy") as store:
        assert store.add([toy_spec(seed=seed) for seed in range(1000)]) == 999


# ---------------------------------------------------------------- two processes


def test_training_leaves_nothing_behind(tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        store.add([toy_spec()])
        with store.training():
            store.claim([toy_spec().id])
            assert len(list(tmp_path.glob("trainer-*.lock"))) == 1
            with pytest.raises(StoreError, match="must not be entered twice"), store.training():
                pass
        assert (
            store.query("SELECT count(*) FROM claim") == store.query("SELECT count(*) FROM trainer") == [(0,)]
        )
    assert [file.name for file in tmp_path.iterdir()] == [STORE_FILE]


def test_the_locks_of_the_dead_are_cleared_away(tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        (tmp_path / "trainer-0123456789ab.lock").touch()  # killed before its row was there
        store.query(
            "INSERT INTO trainer VALUES ('ba9876543210', 'host', 1, 'now')"
        )  # and after its file went
        with store.training():
            assert store.trainers() == 1
            assert len(list(tmp_path.glob("trainer-*"))) == 1
        assert list(tmp_path.glob("trainer-*")) == []


def test_no_lock_is_left_when_the_store_refuses_a_trainer(tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        store.query("CREATE TRIGGER full AFTER INSERT ON trainer BEGIN SELECT raise(FAIL, 'disk'); END")
        with pytest.raises(StoreError, match="disk"), store.training():
            pass
        assert list(tmp_path.glob("trainer-*")) == []
        store.query("DROP TRIGGER full")
        with store.training():
            assert store.trainers() == 1


def test_a_copied_store_is_not_owned_by_the_trainers_of_the_first(tmp_path):
    """The copy has the rows of a trainer, and no process holds the lock beside it."""
    ids = [toy_spec().id]
    with Store.open(tmp_path / "first", study="toy") as store, store.training():
        store.add([toy_spec()])
        store.claim(ids)
        (tmp_path / "copy").mkdir()
        for file in (tmp_path / "first").glob("store.sqlite*"):
            shutil.copy(file, tmp_path / "copy")
        with Store.open(tmp_path / "copy", study="toy") as copy, copy.training():
            assert copy.claimed() == frozenset()
            assert copy.claim(ids) == Claimed(run_ids=tuple(ids))


def test_a_block_after_its_claim_was_lost_is_refused(tmp_path):
    """As after a lock that a network file system forgot: the other's work stands."""
    ids = [toy_spec().id]
    first, *_ = ToyTrainer()([toy_spec()])
    with Store.open(tmp_path, study="toy") as one, Store.open(tmp_path, study="toy") as other:
        one.add([toy_spec()])
        with one.training(), other.training():
            one.claim(ids)
            one._seat._lock.execute("ROLLBACK")
            assert other.claim(ids) == Claimed(run_ids=tuple(ids))
            refused(lambda: one.commit(ids, first), names=tmp_path / STORE_FILE)
            other.commit(ids, first)
            assert len(other.checkpoints()) == 1


# ---------------------------------------------------------------- what is written


def test_specs_come_back(tmp_path):
    specs = [toy_spec(seed=1), toy_spec(noise_multiplier=0.0, clip_norm=math.inf)]
    with Store.open(tmp_path, study="toy") as store:
        store.add(specs)
        assert list(store.specs().items()) == [(spec.id, spec) for spec in specs]
        rows = store.query("SELECT id, noise_multiplier, clip_norm, lr, seed, steps FROM run ORDER BY key")
    assert rows == [(specs[0].id, 1.0, 1.0, 0.1, 1, 6), (specs[1].id, 0.0, math.inf, 0.1, 0, 6)]


def test_numbers_beyond_float32_are_recorded_as_infinite(tmp_path):
    spec = toy_spec(steps=2)
    huge = np.array([[1e300, 1.0]])
    block = ToyBlock(
        step=2,
        metrics={},
        trace={"x": huge},
        state=None,
        finished=True,
        diverged=np.array([False]),
        trained=np.array([True]),
    )
    with Store.open(tmp_path, study="toy") as store:
        store.add([spec])
        store.commit([spec.id], block)
        ((blob,),) = store.query("SELECT vals FROM trace")
    assert np.frombuffer(blob, dtype="<f4").tolist() == [math.inf, 1.0]


def test_the_file_says_what_it_is(tmp_path):
    path = filled(tmp_path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = db.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall()
        assert len(tables) == 11
        assert all("STRICT" in sql for (sql,) in tables)
        assert db.execute("SELECT study FROM sweep").fetchall() == [("toy",)]
    db.close()
    assert sorted(file.name for file in Path(tmp_path).iterdir()) == [STORE_FILE]


def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreError, match=r"SQLite must be 3\.37 or newer"):
        Store.open(tmp_path / "folder", study="toy")
    assert not (tmp_path / "folder").exists()


def test_a_new_store_that_another_process_is_opening_is_waited_for(tmp_path):
    """SQLite itself does not wait to switch a file to a write-ahead log."""
    first = sqlite3.connect(tmp_path / STORE_FILE, isolation_level=None, check_same_thread=False)
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(tmp_path / STORE_FILE, timeout=30).execute("PRAGMA journal_mode = WAL")
    later = threading.Timer(0.05, first.execute, ["ROLLBACK"])
    later.start()
    with Store.open(tmp_path, study="toy") as store:
        assert store.query("PRAGMA journal_mode") == [("wal",)]
    later.join()
    first.close()
