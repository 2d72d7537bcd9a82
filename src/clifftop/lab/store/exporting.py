"""A store as plain files that need no SQLite and none of this package."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clifftop import __version__
from clifftop.files import write_all
from clifftop.lab import tables
from clifftop.lab.contract import StoreError
from clifftop.lab.redacted import without_secrets
from clifftop.lab.store.file import Store

MANIFEST = "manifest.json"
_ARTIFACTS = ("sweep.json", "cost.json", "facts.json")


def export_store(store: Store, folder: Path, *, csv: bool = False) -> Mapping[str, Any]:
    """Write runs, metrics, trace, specs and the sweep into a folder, every file or none; return the manifest.

    The manifest lists each file with its SHA-256, bytes and rows. Noise seeds and the secrets of streams are
    left out of the specs: whoever knows them can take the noise off again.

    Args:
        store: where the runs are.
        folder: made if need be; files of the same names in it are replaced.
        csv: CSV in place of Parquet.

    Raises:
        StoreError: the folder cannot be made.
        FileWriteError: a file cannot be written.
    """
    kind, write = ("csv", _csv) if csv else ("parquet", _parquet)
    files: dict[str, bytes] = {}
    listed: dict[str, dict[str, Any]] = {}
    for name, make in _TABLES.items():
        table = make(store)
        files[f"{name}.{kind}"] = write(table)
        listed[f"{name}.{kind}"] = {"rows": table.height}
    specs = list(_specs(store))
    files["specs.jsonl"] = "".join(f"{line}\n" for line in specs).encode()
    listed["specs.jsonl"] = {"rows": len(specs)}
    files |= {name: found for name in _ARTIFACTS if (found := store.artifact(name)) is not None}
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        listed[name] = {"sha256": digest, "bytes": len(content), **listed.get(name, {})}
    manifest = {"study": store.study, "written_by": f"clifftop {__version__}", "files": listed}
    files[MANIFEST] = json.dumps(manifest, indent=2).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
    write_all(folder, files)
    return manifest


def _specs(store: Store) -> Iterator[str]:
    for run_id, text in store.query("SELECT id, spec FROM run ORDER BY key"):
        yield json.dumps({"id": run_id, "spec": without_secrets(json.loads(text))}, sort_keys=True)


def _trace(store: Store) -> pl.DataFrame:
    """All diagnostics: ``id``, ``step`` (from 1), then a float32 column each; null where not recorded."""
    ids = pl.DataFrame(
        store.query("SELECT key, id FROM run"), schema={"key": pl.Int64, "id": pl.String}, orient="row"
    )
    parts: dict[str, list[pl.DataFrame]] = {}
    for run, name, first, steps, values in store.query(
        "SELECT run, name, first_step, steps, vals FROM trace"
    ):
        part = {
            "key": np.full(steps, run),
            "step": np.arange(first, first + steps),
            name: np.frombuffer(values, dtype="<f4"),
        }
        parts.setdefault(name, []).append(pl.DataFrame(part))
    table = pl.DataFrame(schema={"key": pl.Int64, "step": pl.Int64})
    for name in sorted(parts):
        table = table.join(pl.concat(parts[name]), on=["key", "step"], how="full", coalesce=True)
    return (
        ids.lazy()
        .join(table.lazy(), on="key", how="inner")
        .sort("key", "step")
        .select("id", "step", *sorted(parts))
        .collect()
    )


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def _csv(table: pl.DataFrame) -> bytes:
    return table.write_csv().encode()


_TABLES: Mapping[str, Callable[[Store], pl.DataFrame]] = {
    "runs": tables.runs,
    "metrics": tables.metrics,
    "trace": _trace,
}
