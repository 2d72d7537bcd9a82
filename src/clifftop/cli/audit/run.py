"""`clifftop audit run`: train with canaries, and test what is released against the claim."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

from clifftop.cli.audit.factories import made
from clifftop.cli.audit.settings import Save, Seed, Share
from clifftop.cli.audit.showing import finish
from clifftop.cli.audit.telling import Told, told
from clifftop.cli.durations import Duration
from clifftop.cli.options import Json

if TYPE_CHECKING:
    from clifftop.audit.one_run import OneRunReport, OneRunTraining
    from clifftop.audit.runs import TrainingReport, TrainingUnderTest

MANY, ONE = ("claim", "num_canaries", "observe"), ("claim", "num_canaries", "kind", "scores")
"""What a training of many runs has, and one that is trained once."""


def run(
    factory: str,
    /,
    *,
    budget: Duration = 20.0,
    confidence: Share = 0.95,
    level: Share = 1e-3,
    seed: Seed = 0,
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
    with told(f"loading {factory}") as tell:
        training = made(factory)
        tell(0.0, f"training {factory}")
        if all(hasattr(training, name) for name in MANY):
            _refuse_others(factory, training)
            report = _many(
                training, budget=budget, confidence=confidence, level=level, seed=seed, progress=tell
            )
        elif all(hasattr(training, name) for name in ONE):
            _refuse_others(factory, training)
            report = _once(training, confidence=confidence, seed=seed)
        else:
            raise ValueError(
                "the factory must give a training with claim, num_canaries and observe, or for one run with "
                f"kind and scores, found {type(training).__name__} from {factory}; return "
                "clifftop.audit.runs.ours(...), or what clifftop.audit.one_run has"
            )
    return finish(report.document(factory), as_json=as_json, save=save)


def _refuse_others(factory: str, training: Any) -> None:
    from clifftop.audit.one_run import CanaryKind
    from clifftop.audit.runs import TrainingClaim

    if not isinstance(training.claim, TrainingClaim):
        raise ValueError(
            f"a training's claim must be a clifftop.audit.runs.TrainingClaim, found "
            f"{type(training.claim).__name__} from {factory}; give it the plan's rate, noise, steps and delta"
        )
    count = training.num_canaries
    if not isinstance(count, Integral) or count < 1:
        raise ValueError(
            f"a training must have one canary or more, found num_canaries={count!r} from {factory}; 64 is a "
            "start for many runs, 500 for one"
        )
    if not hasattr(training, "observe") and not isinstance(training.kind, CanaryKind):
        raise ValueError(
            f"the canaries' kind must be a clifftop.audit.one_run.CanaryKind, found "
            f"{type(training.kind).__name__} from {factory}; say what they see"
        )


def _many(
    training: TrainingUnderTest,
    *,
    budget: float,
    confidence: float,
    level: float,
    seed: int,
    progress: Told,
) -> TrainingReport:
    from clifftop.audit.runs import audit_training

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
