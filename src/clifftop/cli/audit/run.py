"""`clifftop audit run`: train with canaries, and test what is released against the claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clifftop.cli.audit.factories import made
from clifftop.cli.audit.showing import Save, finish
from clifftop.cli.audit.telling import told
from clifftop.cli.durations import Duration
from clifftop.cli.options import Json, Whole

if TYPE_CHECKING:
    from clifftop.audit.runs import TrainingUnderTest

_Share = Annotated[float, Parameter(allow_leading_hyphen=True)]


def run(
    factory: str,
    /,
    *,
    budget: Duration = 20.0,
    confidence: _Share = 0.95,
    level: _Share = 1e-3,
    seed: Whole = 0,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Audit whole trainings from inside: many runs with canaries, beside the claim; 1 if it is refuted.

    The training is what MODULE:CALLABLE gives: an object with a claim, num_canaries and observe (see the page
    on audits of runs): `clifftop audit run my_audit:training --budget 60s`. What a bound does not show is
    below its detection limit; passing is no proof of privacy.

    Args:
        factory: MODULE:CALLABLE, called without arguments; modules of this folder are found too.
        budget: CPU time for training and judging, such as 60s or 2m; it decides how many runs there are.
        confidence: of each lower bound.
        level: the probability, at most, that a training which does as it claims is refuted.
        seed: of the coins and of the runs.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.audit.runs import audit_training

    training = _training(factory)
    with told() as progress:
        report = audit_training(
            training,
            budget_seconds=budget,
            confidence=confidence,
            level=level,
            seed=seed or 0,
            progress=progress,
        )
    return finish(report.document(factory), as_json=as_json, save=save)


def _training(factory: str) -> TrainingUnderTest:
    found = made(factory)
    if not all(hasattr(found, name) for name in ("claim", "num_canaries", "observe")):
        raise ValueError(
            "the factory must give a training with claim, num_canaries and observe, found "
            f"{type(found).__name__} from {factory}; return clifftop.audit.runs.ours(...), or an object "
            "with these three"
        )
    return found
