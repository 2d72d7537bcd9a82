"""`clifftop validate`: check a results folder; each failure on a line."""

from __future__ import annotations

from pathlib import Path

from clifftop.cli.exits import EXIT_DOES_NOT_HOLD, EXIT_OK
from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line


def validate(results: Path, /, *, as_json: Json = False) -> int:
    """Check a results folder; exit 1 and name each failure if one is found.

    Every run is there once, accuracies are fractions, epsilon falls as the noise grows, epsilons and
    cliff equal what is computed anew, plots and metadata are there: `clifftop validate out/no-cliff`.

    Args:
        results: the folder that a study wrote.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.analysis.jsonio import read_document
    from clifftop.analysis.results import FILE_NAME
    from clifftop.report.validation import validate as check
    from clifftop.studies import recompute_epsilon

    read_document(results / FILE_NAME)  # a file that is no JSON is bad input, not a finding
    found = check(results, recompute=recompute_epsilon)
    failures = [str(failure) for failure in found]
    if as_json:
        print_json({"folder": str(results), "valid": not failures, "failures": failures})
    else:
        for failure in failures:
            print_line(failure)
        print_line(f"{results}: {'valid' if not failures else f'{len(failures)} failed'}")
    return EXIT_DOES_NOT_HOLD if failures else EXIT_OK
