"""Running a study: specs into the store, cohorts trained, the folder's ``results.json`` written."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import polars as pl
import torch

from clifftop.accounting import Bound
from clifftop.analysis.jsonio import dumps
from clifftop.analysis.results import FILE_NAME
from clifftop.files import write_all
from clifftop.lab import Progress, Store, run_sweep, tables
from clifftop.lab.facts import DataSize, Facts, ModelSize, add_facts, environment
from clifftop.lab.machine import executor_for, threads_for
from clifftop.studies.base import Axes, Study
from clifftop.studies.fashion_cnn import FASHION_CNN
from clifftop.studies.no_cliff import NO_CLIFF, NO_CLIFF_ANSWERED, NO_CLIFF_SOUND
from clifftop.studies.results import results_document, run_settings

STUDIES: Mapping[str, Study] = {
    study.name: study for study in (NO_CLIFF, NO_CLIFF_ANSWERED, NO_CLIFF_SOUND, FASHION_CNN)
}


class UnknownStudy(ValueError):
    """No study of that name; the message lists those there are."""


@final
@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """Where a study's results lie, and how long they took.

    Attributes:
        folder: holds the store and ``results.json``.
        num_runs: runs in the grid, baselines included.
        num_trained: runs trained by this call; the others were there already.
        runtime_seconds: wall time of the call.
        training_seconds: time spent in training, summed over workers and over the life of the folder.
    """

    folder: Path
    num_runs: int
    num_trained: int
    runtime_seconds: float
    training_seconds: float


def names() -> list[str]:
    """The studies there are."""
    return list(STUDIES)


def get(name: str) -> Study:
    """The study of that name.

    Raises:
        UnknownStudy: there is none; the message lists the known ones.

    >>> get("no-cliff").template.steps
    140
    """
    if name not in STUDIES:
        close = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UnknownStudy(f"study must be one of {', '.join(STUDIES)}, found {name!r}{hint}")
    return STUDIES[name]


def run_study(
    name: str,
    *,
    axes: Axes | None = None,
    out: Path,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> StudyResult:
    """Train what is missing of a study's grid and write ``results.json`` for that grid.

    Args:
        name: one of `names`.
        axes: values that replace the study's own.
        out: the folder; runs found there are not trained again.
        workers: processes that train at the same time; None picks by the amount of work.
        progress: called as blocks come in.

    Raises:
        UnknownStudy: no such study.
        ValueError: an axis value is out of range.
        StoreError: the folder belongs to another study, or cannot be written.
        SweepError: some runs raised an error; the others are kept.
    """
    started = time.perf_counter()
    study = get(name)
    grid = study.grid(axes or Axes())
    specs = list(study.specs(grid))
    data = study.template.data.resolve()(seed=grid.seeds[0], **study.template.data.options)
    if data.num_train != study.num_examples:
        raise ValueError(
            f"a study's data must have the rows its epsilon is computed for, found {data.num_train} where "
            f"num_examples={study.num_examples}; change one of them"
        )
    facts = _facts(study, num_test=data.num_test)
    with Store.open(out, study=name) as store:
        executor = executor_for(None, workers=workers, steps=len(specs) * study.template.steps)
        with threads_for(study.template):
            swept = run_sweep(store, specs, executor=executor, progress=progress)
        store.describe(run_settings(study, grid, specs))
        add_facts(store, facts)
        wanted = pl.DataFrame({"id": [spec.id for spec in specs]})
        training_seconds = tables.training_seconds(store)
        runs = wanted.join(tables.runs(store), on="id", how="left", maintain_order="left")
    seconds = {"runtime": time.perf_counter() - started, "training": training_seconds}
    document = results_document(
        study,
        grid,
        runs,
        facts=facts,
        seconds=seconds,
    )
    write_all(out, {FILE_NAME: dumps(document)})
    return StudyResult(
        folder=out,
        num_runs=len(specs),
        num_trained=swept.trained,
        runtime_seconds=seconds["runtime"],
        training_seconds=seconds["training"],
    )


def _facts(study: Study, *, num_test: int) -> Facts:
    model, data = study.template.model, study.template.data
    with torch.device("meta"):
        module = model.resolve()(**model.options)
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return Facts(
        data=(DataSize(factory=data, num_train=study.num_examples, num_test=num_test),),
        models=(ModelSize(factory=model, num_parameters=count),),
        environments=(environment("cpu"),),
    )


def recompute_epsilon(run: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[float | None, Bound]:
    """The published and the true epsilon of a run of ``results.json``, computed anew.

    Raises:
        UnknownStudy: the folder's study is not known here.
    """
    study = get(str(config["study"]))
    sigma = float(run["noise_multiplier"])
    published = study.published_epsilon(sigma) if study.published_epsilon else None
    return published, study.epsilon(study.plan(sigma, float(run["clip_norm"])))
