"""`clifftop audit training`: check what surrounds the steps of a training."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clifftop.cli.audit.factories import made
from clifftop.cli.audit.showing import Save, finish
from clifftop.cli.options import Json, Whole

_Level = Annotated[float, Parameter(allow_leading_hyphen=True)]


def training(
    factory: str,
    /,
    *,
    level: _Level = 1e-4,
    seed: Whole = 0,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Check what surrounds the steps: preparation, restarts, charges, workers, tuning; 1 if it fails.

    The training is what MODULE:CALLABLE gives: an object with any of the capabilities that
    clifftop.audit.trainings lists (see the page on the zoo); what it lacks is said to be not checked. Passing
    is no proof of privacy.

    Args:
        factory: MODULE:CALLABLE, called without arguments; modules of this folder are found too.
        level: the probability, at most, that a training which keeps its claim fails, such as 1e-4.
        seed: of the trainings that are run.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.audit.trainings import check_training

    report = check_training(made(factory), level=level, seed=seed or 0)
    return finish(report.document(factory), as_json=as_json, save=save)
