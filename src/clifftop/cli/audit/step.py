"""`clifftop audit step`: check what a training step does against what it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clifftop.cli.audit.factories import made
from clifftop.cli.audit.showing import Save, finish
from clifftop.cli.options import Json, Whole

if TYPE_CHECKING:
    from clifftop.audit.steps import PrivateStepUnderTest


_Level = Annotated[float, Parameter(allow_leading_hyphen=True)]


def step(
    factory: str,
    /,
    *,
    level: _Level = 1e-4,
    seed: Whole = 0,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Check one training step: sensitivity, noise, sampler, and what must not cross examples; 1 if it fails.

    The step is what MODULE:CALLABLE gives: an object with a claim and a release, of any library or of your
    own loop (see the page on audits): `clifftop audit step my_audit:step`. Passing is no proof of privacy.

    Args:
        factory: MODULE:CALLABLE, called without arguments; modules of this folder are found too.
        level: the probability, at most, that a step which keeps its claim fails, such as 1e-4.
        seed: of the search and of the noise.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.audit import check_step

    report = check_step(_step(factory), level=level, seed=seed or 0)
    return finish(report.document(factory), as_json=as_json, save=save)


def _step(factory: str) -> PrivateStepUnderTest:
    found = made(factory)
    if not all(hasattr(found, name) for name in ("claim", "examples", "release")):
        raise ValueError(
            "the factory must give a step with claim, examples and release, found "
            f"{type(found).__name__} from {factory}; return clifftop.audit.steps.ours(...), or an object "
            "with these three"
        )
    return found
