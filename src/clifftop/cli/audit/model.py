"""`clifftop audit model`: attack models of one setting for membership, beside what its epsilon permits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clifftop.cli.audit.factories import keep_to_one_thread
from clifftop.cli.audit.settings import Picture, Save, Seed, Share
from clifftop.cli.audit.showing import finish
from clifftop.cli.audit.telling import told
from clifftop.cli.options import Json, Whole
from clifftop.cli.output import print_line

if TYPE_CHECKING:
    from clifftop.audit.attacks import AttackReport, Observations
    from clifftop.audit.document import AuditDocument
    from clifftop.lab import RunSpec
    from clifftop.lab.shadows import Shadows


def model(
    folder: Path,
    run: str,
    /,
    *,
    models: Whole = 64,
    delta: Share = 1e-5,
    confidence: Share = 0.95,
    seed: Seed = 0,
    plot: Picture = None,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Attack models of a run's setting: was a record trained on? 1 if what is found refutes its epsilon.

    Models with the run's setting are trained on random halves of its data, and each is attacked with all the
    others as shadows: LiRA, RMIA and weaker attacks. The verdict comes from half of the models, by the attack
    and threshold that the other half chooses. What an attack does not show may leak all the same.

    Args:
        folder: the results folder of a sweep or a study.
        run: the first characters of the run's id, as `clifftop runs` lists it.
        models: how many to train; at least 8, and from 64 on low false-positive rates say something.
        delta: at which the claimed epsilon is taken.
        confidence: of the verdict.
        seed: names the models.
        plot: a PNG of what attacks reach beside what is permitted.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    keep_to_one_thread()
    from clifftop.lab.shadows import train_shadows

    spec = _spec(folder, run)
    with told(f"reading {folder}") as progress:
        shadows = train_shadows(spec, models=models or 0, seed=seed, progress=progress)
        progress(0.95, "attacking")
        report = _attacked(shadows.spec, shadows.observations, delta=delta, confidence=confidence)
    document = report.document(f"{folder.name} {spec.id[:8]}")
    document = replace(document, figures=(*document.figures, *_figures(shadows)))
    if plot is not None:
        _draw(document, plot)
    if not as_json:
        lost = shadows.diverged
        own, other = shadows.train_accuracy.mean(), shadows.test_accuracy.mean()
        print_line(
            f"{report.models} models on halves of {report.records} records: accuracy {own:.3f} on their own "
            f"half, {other:.3f} on the other{f'; {lost} diverged and say nothing' if lost else ''}"
        )
    return finish(document, as_json=as_json, save=save, table=report.table())


def _spec(folder: Path, run: str) -> RunSpec:
    from clifftop.lab.reading.one_run import find_run
    from clifftop.lab.store import Store
    from clifftop.lab.sweep.files import make_importable

    make_importable(Path.cwd())
    with Store.read(folder) as store:
        record = find_run(store, run)
        return store.specs()[record.id]


def _attacked(spec: RunSpec, seen: Observations, *, delta: float, confidence: float) -> AttackReport:
    from clifftop.accounting import epsilon
    from clifftop.audit.attacks import attack_models
    from clifftop.audit.attacks.report import RELATION

    if not spec.plan.is_private:
        return attack_models(seen, delta=delta, confidence=confidence)
    event = spec.plan.event(steps=spec.steps, num_examples=seen.records // 2)
    claimed = epsilon(event, delta=delta, neighboring_relation=RELATION).upper
    if not math.isfinite(claimed):
        return attack_models(seen, delta=delta, confidence=confidence)
    return attack_models(seen, event=event, epsilon=claimed, delta=delta, confidence=confidence)


def _figures(shadows: Shadows) -> tuple[tuple[str, float], ...]:
    return (
        ("accuracy on the own half", float(shadows.train_accuracy.mean())),
        ("accuracy on the other half", float(shadows.test_accuracy.mean())),
        ("models that diverged", float(shadows.diverged)),
    )


def _draw(document: AuditDocument, path: Path) -> None:
    from clifftop.files import write_all
    from clifftop.report.drawings.audits import draw_audits

    drawing = draw_audits((document,))[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_all(path.parent, {path.name: drawing.file("png")})
