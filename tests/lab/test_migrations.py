"""Migrations: in order, once each, all or nothing; and files that earlier versions wrote."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from clifftop.lab.cohort import train_cohort
from clifftop.lab.contract import StoreError
from clifftop.lab.migrations import MIGRATIONS, NewerFormatError, is_newest, migrate
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import STORE_FILE, Store, cohort_id
from clifftop.studies import Axes, get

FORMAT_1 = Path(__file__).parent / "stores" / "format_1.sqlite"
"""Written by the last version of format 1: four runs of the study no-cliff, two of them done, two under way
at step 30 of 140. That version, undisturbed, ended at these losses."""
LOSSES = (0.03059951066970825, 0.05160890579223633, 0.03812102556228638, 0.06429880619049072)


@pytest.fixture
def db():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def first(db):
    db.execute("CREATE TABLE thing (name TEXT) STRICT")


def second(db):
    db.execute("INSERT INTO thing VALUES ('old')")
    db.execute("ALTER TABLE thing ADD COLUMN size INTEGER")


def broken(db):
    db.execute("INSERT INTO thing VALUES ('half', 1)")
    db.execute("INSERT INTO nowhere VALUES (1)")


def test_each_runs_once_in_order(db):
    migrate(db, (first,))
    migrate(db, (first, second))
    migrate(db, (first, second))
    assert db.execute("SELECT * FROM thing").fetchall() == [("old", None)]
    assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_broken_one_leaves_the_version_before_it(db):
    migrate(db, (first, second))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(db, (first, second, broken))
    assert db.execute("SELECT * FROM thing").fetchall() == [("old", None)]
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert not db.in_transaction


def test_a_newer_file_is_refused(db):
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(NewerFormatError, match=f"format={len(MIGRATIONS) + 1}"):
        migrate(db)
    with pytest.raises(NewerFormatError):
        is_newest(db)


def test_the_real_list_leads_from_nothing_to_the_newest(db):
    assert not is_newest(db)
    migrate(db)
    assert is_newest(db)
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.fixture
def old(tmp_path):
    shutil.copy(FORMAT_1, tmp_path / STORE_FILE)
    return tmp_path


@pytest.fixture(scope="module")
def specs():
    study = get("no-cliff")
    grid = study.grid(Axes(noise_multipliers=(1.0,), clip_norms=(1.0,), seeds=(1, 2)))
    return list(study.specs(grid))


def test_an_old_store_goes_on_and_trains_nothing_twice(old, specs):
    given = []

    def trainer(specs, *, state=None):
        given.append(([spec.id for spec in specs], state is not None))
        yield from train_cohort(specs, state=state)

    with Store.open(old, study="no-cliff") as store:
        assert store.specs() == {spec.id: spec for spec in specs}
        before = store.query("SELECT * FROM metric WHERE run <= 2 ORDER BY 1, 2, 3")
        result = run_sweep(store, specs, trainer=trainer)
        assert (result.runs, result.trained, result.failures) == (4, 2, ())
        assert given == [([spec.id for spec in specs[2:]], True)]
        assert store.query("SELECT * FROM metric WHERE run <= 2 ORDER BY 1, 2, 3") == before
        losses = store.query("SELECT value FROM metric WHERE name = 'loss' AND step = 140 ORDER BY run")
        assert [loss for (loss,) in losses] == pytest.approx(LOSSES, abs=1e-6)
        steps = store.query("SELECT run, name, sum(steps), max(first_step) FROM trace GROUP BY run, name")
        assert {(total, last) for *_, total, last in steps} == {(140, 1), (140, 31)}


def test_old_specs_get_the_new_fields_and_their_ids(old, specs):
    with Store.open(old, study="no-cliff") as store:
        rows = store.query("SELECT id, spec FROM run ORDER BY key")
        assert rows == [(spec.id, spec.canonical) for spec in specs]
        ((cohort, runs, step),) = store.query("SELECT cohort, runs, step FROM checkpoint")
        assert (json.loads(runs), step) == ([spec.id for spec in specs[2:]], 30)
        assert cohort == cohort_id(json.loads(runs))
        assert store.query("PRAGMA foreign_key_check") == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE run SET spec = 'no JSON' WHERE key = 2",
        "UPDATE run SET spec = '[]' WHERE key = 2",
        "UPDATE checkpoint SET runs = '[\"0000000000000000\"]'",
    ],
)
def test_an_old_store_that_cannot_be_read_is_refused_as_it_was(damage, old):
    with sqlite3.connect(old / STORE_FILE) as db:
        db.execute(damage)
    db.close()
    with pytest.raises(StoreError, match="is damaged") as caught:
        Store.open(old, study="no-cliff")
    assert "\n" not in str(caught.value)
    with sqlite3.connect(old / STORE_FILE) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'setting'").fetchone() == (0,)
    db.close()


def test_an_old_store_is_not_changed_by_reading(old):
    before = (old / STORE_FILE).read_bytes()
    with pytest.raises(StoreError, match="of an older version; run its study again"):
        Store.read(old)
    assert (old / STORE_FILE).read_bytes() == before
