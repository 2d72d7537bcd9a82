"""One moment of a store that others write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clifftop.lab.contract import RunStore


@contextmanager
def one_moment(store: RunStore) -> Iterator[None]:
    """Let all queries inside see the store as it is at the first of them, whatever is committed meanwhile."""
    store.query("SAVEPOINT one_moment")  # unlike BEGIN it may stand inside another
    try:
        yield
    finally:
        store.query("RELEASE one_moment")
