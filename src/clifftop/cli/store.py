"""`clifftop store`: check, export or merge results folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from clifftop.cli.exits import EXIT_DOES_NOT_HOLD, EXIT_OK
from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line

store = App(name="store", help="Check, export or merge results folders.")

_Tolerance = Annotated[float, Parameter(allow_leading_hyphen=True)]


@store.command
def check(folder: Path, /, *, as_json: Json = False) -> int:
    """Read a results folder whole and say whether it is sound; 1 if it is not.

    Args:
        folder: the results folder; nothing in it is changed, and a sweep may be writing there.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.lab.store import Store
    from clifftop.lab.store.checking import check_store

    with Store.read(folder) as opened:
        found = check_store(opened)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "study": found.study,
                "statuses": found.statuses,
                "cohorts_under_way": found.cohorts_under_way,
                "trainers": found.trainers,
                "bytes": found.size_bytes,
                "problems": list(found.problems),
            }
        )
    else:
        counts = ", ".join(f"{count} {status}" for status, count in found.statuses.items()) or "no runs"
        print_line(f"study {found.study}: {counts}; {found.size_bytes / 1e6:.1f} MB")
        print_line(f"{found.cohorts_under_way} cohorts under way, {found.trainers} processes train now")
        for problem in found.problems:
            print_line(f"problem: {problem}")
        print_line("not sound" if found.problems else "sound")
    return EXIT_DOES_NOT_HOLD if found.problems else EXIT_OK


@store.command
def export(folder: Path, /, *, out: Path, csv: bool = False, as_json: Json = False) -> int:
    """Write a results folder as plain files: runs, metrics, trace, specs, the sweep, and a manifest.

    A run's own noise seed is left out of the specs.

    Args:
        folder: the results folder; nothing in it is changed.
        out: where to write; files of the same names there are replaced.
        csv: CSV files in place of Parquet.
        as_json: print the manifest and nothing else.
    """
    from clifftop.lab.store import Store
    from clifftop.lab.store.exporting import MANIFEST, export_store

    with Store.read(folder) as opened:
        manifest = export_store(opened, out, csv=csv)
    if as_json:
        print_json(manifest)
    else:
        for name, about in manifest["files"].items():
            rows = f", {about['rows']} rows" if "rows" in about else ""
            print_line(f"{name}: {about['bytes']} bytes{rows}")
        print_line(f"digests: {out / MANIFEST}")
    return EXIT_OK


@store.command
def merge(
    first: Path, second: Path, /, *, out: Path, tolerance: _Tolerance = 1e-6, as_json: Json = False
) -> int:
    """Make one results folder of two of the same sweep; the two stay as they are.

    A run that has finished in one of them is finished. A run that has finished in both must have the same
    metrics, else nothing is written.

    Args:
        first: a results folder.
        second: another.
        out: the new folder; must not exist.
        tolerance: how far the metrics of a run that both finished may differ, absolutely or relatively.
        as_json: print one JSON document and nothing else.
    """
    if not tolerance >= 0:
        raise ValueError(f"--tolerance must be at least 0, found {tolerance}; 1e-6 is the usual one")
    from clifftop.lab.store.merging import merge_stores

    made = merge_stores(first, second, out, tolerance=tolerance)
    if as_json:
        counts = {"runs": made.runs, "added": made.added}
        counts |= {"finished_by_second": made.finished_by_second, "agreed": made.agreed}
        print_json({"folder": str(out), **counts})
    else:
        print_line(
            f"{made.runs} runs in {out}: {made.added} of them new to the first, "
            f"{made.finished_by_second} finished by the second alone, {made.agreed} alike in both"
        )
    return EXIT_OK
