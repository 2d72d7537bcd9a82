"""Migrations: in order, once each, all or nothing."""

import sqlite3

import pytest

from clifftop.lab.migrations import MIGRATIONS, NewerFormatError, is_newest, migrate


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
