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
    from clifftop.audit.one_run import OneRunReport, OneRunTraining
    from clifftop.audit.runs import TrainingReport, TrainingUnderTest

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
    on audits of runs), or one of clifftop.audit.one_run, which is trained once:
    `clifftop audit run my_audit:training --budget 60s`. What a bound does not show is below its detection
    limit; passing is no proof of privacy.

    Args:
        factory: MODULE:CALLABLE, called without arguments; modules of this folder are found too.
        budget: CPU time for training and judging, such as 60s or 2m; it decides how many runs there
            are. A training of one run takes what it takes.
        confidence: of each lower bound.
        level: the probability, at most, that a training which does as it claims is refuted.
        seed: of the coins and of the runs.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    training = made(factory)
    if all(hasattr(training, name) for name in ("claim", "num_canaries", "observe")):
        report = _many(training, budget=budget, confidence=confidence, level=level, seed=seed or 0)
    elif all(hasattr(training, name) for name in ("claim", "num_canaries", "kind", "scores")):
        report = _once(training, confidence=confidence, seed=seed or 0)
    else:
        raise ValueError(
            "the factory must give a training with claim, num_canaries and observe, or for one run with kind "
            f"and scores, found {type(training).__name__} from {factory}; return "
            "clifftop.audit.runs.ours(...), or what clifftop.audit.one_run has"
        )
    return finish(report.document(factory), as_json=as_json, save=save)


def _many(
    training: TrainingUnderTest, *, budget: float, confidence: float, level: float, seed: int
) -> TrainingReport:
    from clifftop.audit.runs import audit_training

    with told() as progress:
        return audit_training(
            training,
            budget_seconds=budget,
            confidence=confidence,
            level=level,
            seed=seed,
            progress=progress,
        )


def _once(training: OneRunTraining, *, confidence: float, seed: int) -> OneRunReport:
    from clifftop.audit.one_run import OneRunAudit

    return OneRunAudit.planned(training, confidence=confidence, coins_seed=seed).run(seed=seed + 1)
