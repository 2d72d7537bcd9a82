"""`clifftop migrate`: an Opacus script on Clifftop, and what was wrong with its epsilon, without torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clifftop.cli.exits import EXIT_DOES_NOT_HOLD, EXIT_OK
from clifftop.cli.options import Json, Real, Whole
from clifftop.cli.output import print_json, print_line

if TYPE_CHECKING:
    from clifftop.migrate import Comparison, Finding, Rewritten

_NUMBERS = "Numbers that the script does not say"


def migrate(
    script: Path,
    /,
    *,
    write: Annotated[Path | None, Parameter(help="write the script with its imports changed here.")] = None,
    num_examples: Annotated[Whole, Parameter(help="examples in the training data.", group=_NUMBERS)] = None,
    batch_size: Annotated[Whole, Parameter(help="of the training loader.", group=_NUMBERS)] = None,
    epochs: Annotated[Whole, Parameter(help="passes over the training loader.", group=_NUMBERS)] = None,
    noise_multiplier: Annotated[
        Real, Parameter(help="standard deviation of the noise over the clip norm.", group=_NUMBERS)
    ] = None,
    delta: Annotated[Real, Parameter(help="of the epsilon that is reported.", group=_NUMBERS)] = None,
    as_json: Json = False,
) -> int:
    """Move an Opacus script to Clifftop, and say what was wrong with its epsilon.

    The script is read, not run: its import lines change, each finding is one line, and where the numbers
    are known the old epsilon stands beside the certified one. Exit 1 if a person must change something
    before it runs: `clifftop migrate train.py --num-examples 60000 --write train_clifftop.py`.

    Args:
        script: the script.
        write: where the changed script goes.
        num_examples: examples in the training data.
        batch_size: of the training loader.
        epochs: passes over the training loader.
        noise_multiplier: standard deviation of the noise over the clip norm.
        delta: of the epsilon that is reported.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.migrate import compare, examine, read_facts, rewrite
    from clifftop.migrate.claims import missing_numbers

    source = _read(script)
    rewritten, findings = rewrite(source), examine(source)
    if not rewritten.changes:
        raise ValueError(f"the script must import opacus, found no such line in {script}")
    run = read_facts(source).updated(
        num_examples=num_examples,
        batch_size=batch_size,
        epochs=epochs,
        noise_multiplier=noise_multiplier,
        delta=delta,
    )
    comparison, unknown = compare(run), missing_numbers(run)
    if write is not None:
        with write.open("x", encoding="utf-8") as file:
            file.write(rewritten.source)
    if as_json:
        print_json(_document(script, rewritten, findings, comparison, unknown))
    else:
        _print(script, rewritten, findings, comparison, unknown)
    return EXIT_DOES_NOT_HOLD if any(finding.blocks for finding in findings) else EXIT_OK


def _read(script: Path) -> str:
    """The script's text, which must be Python."""
    import ast

    try:
        source = script.read_text(encoding="utf-8")
        ast.parse(source)
    except (SyntaxError, UnicodeDecodeError) as error:
        place = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"the script must be Python, found a syntax error{place} of {script}") from error
    return source


def _print(
    script: Path,
    rewritten: Rewritten,
    findings: tuple[Finding, ...],
    comparison: Comparison | None,
    unknown: tuple[str, ...],
) -> None:
    from clifftop.report.wording import epsilon_up

    print_line(f"imports of {script}:")
    for change in rewritten.changes:
        print_line(f"  line {change.line}: {change.old}  ->  {change.new}")
    for title, blocks in (("to change by hand", True), ("what changes", False)):
        chosen = [finding for finding in findings if finding.blocks is blocks]
        if chosen:
            print_line(f"{title}:")
        for finding in chosen:
            print_line(f"  {finding}")
    if comparison is not None:
        print_line(f"epsilon of {comparison.run}:")
        print_line(f"  Opacus states about {comparison.old:.4g} ({comparison.how})")
        print_line(
            f"  certified: epsilon <= {epsilon_up(comparison.new.upper)} ({comparison.relation.value})"
        )
    elif unknown:
        flags = " ".join(f"--{name.replace('_', '-')}" for name in unknown)
        print_line(f"epsilon: to compare the old and the new one, pass {flags}")


def _document(
    script: Path,
    rewritten: Rewritten,
    findings: tuple[Finding, ...],
    comparison: Comparison | None,
    unknown: tuple[str, ...],
) -> dict[str, object]:
    compared: dict[str, object] | None = None
    if comparison is not None:
        new = asdict(comparison.new) | {"budget": dict(comparison.new.budget)}
        compared = {**asdict(comparison), "relation": comparison.relation.value, "new": new}
    return {
        "script": str(script),
        "imports": [asdict(change) for change in rewritten.changes],
        "findings": [asdict(finding) for finding in findings],
        "epsilon": compared,
        "unknown": list(unknown),
    }
