"""One SQLite file a results folder: what was asked for, how far it is, and every number."""

from clifftop.lab.store.file import STORE_FILE, Store
from clifftop.lab.store.rows import cohort_id

__all__ = ["STORE_FILE", "Store", "cohort_id"]
