"""The SQLite store: the conformance suite, files that are refused, full disks, two processes."""

import contextlib
import dataclasses
import math
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clifftop.lab.contract import Status, StoreError
from clifftop.lab.migrations import APPLICATION_ID, MIGRATIONS
from clifftop.lab.store import LOCK_FILE, STORE_FILE, Store
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


def swaps_runs(store, run_ids, block, **_):
    store.commit(tuple(reversed(run_ids)), block)


def resets_nothing(store, run_ids):
    pass


def locks_nothing(store):
    return contextlib.nullcontext()


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("check_added_once", {"add": adds_again}),
        ("check_blocks_kept", {"commit": rounds_numbers}),
        ("check_blocks_kept", {"commit": swaps_runs}),
        ("check_blocks_kept", {"checkpoints": lambda store: []}),
        ("check_divergence_is_a_result", {"commit": forgets_divergence}),
        ("check_refused_block_leaves_nothing", {"commit": commits_in_two_steps}),
        ("check_forgets_whole_cohorts", {"reset": resets_nothing}),
        ("check_one_writer", {"exclusive": locks_nothing}),
        ("check_timeline", {"record": lambda store, kind, **detail: store.record(kind)}),
    ],
)
def test_the_suite_catches_a_faulty_store(check, fault, tmp_path):
    chosen = next(one for one in STORE_CHECKS if one.__name__ == check)
    with pytest.raises((AssertionError, StoreError)):
        chosen(lambda: Faulty(Store.open(tmp_path, study="toy"), **fault))


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
        (pages,) = store.query("PRAGMA page_count")[0]
        store.query(f"PRAGMA max_page_count = {pages + 3}")
        for call in (
            lambda: store.commit(ids, second),
            lambda: store.add(toy_spec(seed=seed) for seed in range(100, 200)),
            lambda: store.put_artifact("big", b"x" * 100_000),
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

HOLDER = """
import sys, time
from clifftop.lab.store import Store
with Store.open(sys.argv[1], study="toy") as store, store.exclusive():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process_however_it_ends(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with Store.open(tmp_path, study="toy") as store:
            line = refused(lambda: store.exclusive().__enter__(), names=tmp_path / LOCK_FILE)
            assert "in use by another process" in line
            holder.kill()
            holder.wait()
            with store.exclusive():
                assert store.statuses() == {}


# ---------------------------------------------------------------- what is written


def test_specs_come_back(tmp_path):
    specs = [toy_spec(seed=1), toy_spec(noise_multiplier=0.0, clip_norm=math.inf)]
    with Store.open(tmp_path, study="toy") as store:
        store.add(specs)
        assert list(store.specs().items()) == [(spec.id, spec) for spec in specs]
        rows = store.query("SELECT id, noise_multiplier, clip_norm, lr, seed, steps FROM run ORDER BY key")
    assert rows == [(specs[0].id, 1.0, 1.0, 0.1, 1, 6), (specs[1].id, 0.0, math.inf, 0.1, 0, 6)]


def test_artifacts_are_bytes_by_name(tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        assert store.artifact("summary") is None
        store.put_artifact("summary", b"one")
        store.put_artifact("summary", b"\x00two")
        assert store.artifact("summary") == b"\x00two"


def test_numbers_beyond_float32_are_recorded_as_infinite(tmp_path):
    spec = toy_spec(steps=2)
    huge = np.array([[1e300, 1.0]])
    block = ToyBlock(
        step=2, metrics={}, trace={"x": huge}, state=None, finished=True, diverged=np.array([False])
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
        assert len(tables) == 7
        assert all("STRICT" in sql for (sql,) in tables)
        assert db.execute("SELECT study FROM sweep").fetchall() == [("toy",)]
    db.close()
    assert sorted(file.name for file in Path(tmp_path).iterdir()) == [STORE_FILE]


def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreError, match=r"SQLite must be 3\.37 or newer"):
        Store.open(tmp_path / "folder", study="toy")
    assert not (tmp_path / "folder").exists()
