"""`clifftop audit training`: check what surrounds the steps of a training."""

from __future__ import annotations

from clifftop.cli.audit.factories import made
from clifftop.cli.audit.settings import Save, Seed, Share
from clifftop.cli.audit.showing import finish
from clifftop.cli.audit.telling import told
from clifftop.cli.options import Json


def training(
    factory: str,
    /,
    *,
    level: Share = 1e-4,
    seed: Seed = 0,
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
    with told(f"checking {factory}"):
        from clifftop.audit.trainings import check_training

        report = check_training(made(factory), level=level, seed=seed)
    return finish(report.document(factory), as_json=as_json, save=save)
