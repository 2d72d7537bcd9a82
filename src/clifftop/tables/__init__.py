"""Huge embedding tables: gradients as rows, noise deferred to when a row is read; see docs/tables.md."""

from clifftop.tables.deferred import DeferredTables
from clifftop.tables.normals import RowNormals, StreamNormals
from clifftop.tables.step import private_step

__all__ = ["DeferredTables", "RowNormals", "StreamNormals", "private_step"]
