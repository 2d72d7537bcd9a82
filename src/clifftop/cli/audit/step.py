"""`clifftop audit step`: check what a training step does against what it claims."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from clifftop.cli.exits import EXIT_DOES_NOT_HOLD, EXIT_OK
from clifftop.cli.options import Json, Whole
from clifftop.cli.output import print_json, print_line

if TYPE_CHECKING:
    from clifftop.audit.steps import PrivateStepUnderTest, StepReport


_Level = Annotated[float, Parameter(allow_leading_hyphen=True)]


def step(factory: str, /, *, level: _Level = 1e-4, seed: Whole = 0, as_json: Json = False) -> int:
    """Check one training step: sensitivity, noise, sampler, and what must not cross examples; 1 if it fails.

    The step is what MODULE:CALLABLE gives: an object with a claim and a release, of any library or of your
    own loop (see the page on audits): `clifftop audit step my_audit:step`. Passing is no proof of privacy.

    Args:
        factory: MODULE:CALLABLE, called without arguments; modules of this folder are found too.
        level: the probability, at most, that a step which keeps its claim fails, such as 1e-4.
        seed: of the search and of the noise.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.audit import check_step

    report = check_step(_made(factory), level=level, seed=seed or 0)
    if as_json:
        print_json(_document(factory, report))
    else:
        print_line(str(report))
        print_line(
            "the step keeps its claim, as far as was looked" if report.ok else "the claim does not hold"
        )
    return EXIT_OK if report.ok else EXIT_DOES_NOT_HOLD


def _made(factory: str) -> PrivateStepUnderTest:
    from clifftop.lab import Factory

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    made: Any = Factory(target=factory).resolve()()
    if not all(hasattr(made, name) for name in ("claim", "examples", "release")):
        raise ValueError(
            "the factory must give a step with claim, examples and release, found "
            f"{type(made).__name__} from {factory}; return clifftop.audit.steps.ours(...), or an object with "
            "these three"
        )
    return made


def _document(factory: str, report: StepReport) -> dict[str, Any]:
    return {
        "factory": factory,
        "ok": report.ok,
        "level": report.level,
        "seconds": round(report.seconds, 3),
        "checks": [asdict(check) for check in report.checks],
        "not_checked": list(report.not_checked),
    }
