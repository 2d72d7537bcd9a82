"""A results folder as it lies on disk: its runs as a table, and what is known about all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import polars as pl

from clifftop.analysis.evidence import Evidence, evidence_of
from clifftop.analysis.evidence.build import arms
from clifftop.analysis.results import FILE_NAME, EpsilonRow, Results, load_results
from clifftop.codec import CodecError
from clifftop.lab.contract import StoreError
from clifftop.lab.facts import Facts, read_facts
from clifftop.lab.store import STORE_FILE, Store
from clifftop.lab.sweep import Sweep, sweep_from_json
from clifftop.lab.sweep.choices import SharingMode

if TYPE_CHECKING:
    from clifftop.analysis.evidence.cells import Scalar

_SWEEP, _COST = "sweep.json", "cost.json"
_NOISE_IS_SHARED = (
    "Runs of one seed share their noise, up to its scale: two of them together give the gradient away."
)
_SEEDS = "Seeds are recorded here, so the noise can be recomputed: a release must keep them secret."
_TUNED = "Settings are compared on the private data; the epsilon of one run does not pay for that choice."


@final
@dataclass(frozen=True, kw_only=True)
class Source:
    """What a folder holds, read once.

    Attributes:
        folder: where it lies.
        name: of the sweep or study.
        title: one line for people.
        question: what was asked; empty for a sweep.
        runs: the table of runs, with the columns of ``clifftop.lab.tables.runs``.
        metric: what to compare by; None for the table's first.
        maximize: whether more of it is better; None goes by its name.
        paired: whether runs of one seed share data, initialisation and batches.
        neighboring_relation: for which epsilons hold.
        num_train: training rows, None where they are not known.
        num_test: test rows, likewise.
        counts: runs by status.
        epsilons: a study's published and true epsilons; empty for a sweep.
        caveats: what a reader must know, a sentence each.
        sweep: the sweep; None for a study.
        cost: of the search, as JSON; None where it is not known.
        facts: about the making; None where they are not known.
        training_seconds: of all workers; None where it is not known.
        reference_lr: the learning rate that a study lists first; None for a sweep.
    """

    folder: Path
    name: str
    title: str
    question: str = ""
    runs: pl.DataFrame
    metric: str | None = None
    maximize: bool | None = None
    paired: bool = True
    neighboring_relation: str | None = None
    num_train: int | None = None
    num_test: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    epsilons: tuple[EpsilonRow, ...] = ()
    caveats: tuple[str, ...] = ()
    sweep: Sweep | None = None
    cost: Mapping[str, Any] | None = None
    facts: Facts | None = None
    training_seconds: float | None = None
    reference_lr: float | None = None

    def evidence(self, *, metric: str | None = None, where: pl.Expr | None = None) -> Evidence:
        """The finished runs as evidence.

        Args:
            metric: what to compare by instead of the folder's own.
            where: which runs to take; by default all.

        Raises:
            EvidenceError: nothing has finished, or runs that cannot be compared.
        """
        return evidence_of(
            self.runs if where is None else self.runs.filter(where),
            name=self.name,
            metric=metric or self.metric,
            maximize=None if metric not in (None, self.metric) else self.maximize,
            num_test=self.num_test,
            paired=self.paired,
            neighboring_relation=self.neighboring_relation,
            published=_published(self.epsilons),
        )


def load_source(folder: Path | str) -> Source:
    """Read a folder that a sweep or a study wrote; nothing is written, and a sweep may be under way.

    Raises:
        StoreError: there is neither a store nor a study's results, or the store cannot be read.
        ResultsError: the study's results cannot be read.
    """
    folder = Path(folder)
    if (folder / FILE_NAME).is_file():
        return _of_study(folder, load_results(folder))
    return _of_sweep(folder)


def _of_sweep(folder: Path) -> Source:
    from clifftop.lab import tables

    with Store.read(folder) as store:
        runs = tables.runs(store)
        facts = read_facts(store)
        text, cost = store.artifact(_SWEEP), store.artifact(_COST)
        seconds = tables.training_seconds(store)
        name = store.study
        relations = {s.neighboring_relation for s in store.settings().values()}
    sweep = _sweep(text)
    return Source(
        folder=folder,
        name=name,
        title=f"The sweep {name}",
        runs=runs,
        metric=None if sweep is None else sweep.goal.metric,
        maximize=None if sweep is None else sweep.goal.maximize,
        paired=sweep is None or sweep.sharing is not SharingMode.INDEPENDENT,
        neighboring_relation=relations.pop() if len(relations) == 1 else None,
        num_train=None if facts is None else facts.num_train,
        num_test=None if facts is None else facts.num_test,
        counts=_counts(runs),
        caveats=_caveats(sweep),
        sweep=sweep,
        cost=None if cost is None else json.loads(cost),
        facts=facts,
        training_seconds=seconds,
    )


def _sweep(text: bytes | None) -> Sweep | None:
    """The sweep, where this version knows it."""
    if text is None:
        return None
    try:
        return sweep_from_json(text.decode())
    except CodecError:
        return None


def _caveats(sweep: Sweep | None) -> tuple[str, ...]:
    if sweep is None:
        return (_TUNED,)
    if sweep.public:
        return ("The data were declared public: nothing here costs privacy.",)
    found = [_TUNED]
    if sweep.sharing is SharingMode.COMMON:
        found.append(_NOISE_IS_SHARED)
    if not sweep.secret_seeds:
        found.append(_SEEDS)
    return tuple(found)


def _of_study(folder: Path, results: Results) -> Source:
    config = results.config
    has_store = (folder / STORE_FILE).is_file()
    runs = _stored_runs(folder, results) if has_store else _runs_of(results)
    return Source(
        folder=folder,
        name=config.study,
        title=config.title,
        question=config.question,
        runs=runs,
        metric="accuracy",
        maximize=True,
        neighboring_relation=config.neighboring_relation,
        num_train=config.num_train,
        num_test=config.num_test,
        counts=_counts(runs),
        epsilons=results.epsilons,
        caveats=config.caveats,
        facts=_facts(folder) if has_store else None,
        training_seconds=results.metadata.training_seconds,
        reference_lr=config.lrs[0],
    )


def _facts(folder: Path) -> Facts | None:
    with Store.read(folder) as store:
        return read_facts(store)


def _stored_runs(folder: Path, results: Results) -> pl.DataFrame:
    """The study's runs from its store: those of ``results.json``, and those that explain them."""
    from clifftop.lab import tables

    with Store.read(folder) as store:
        runs = tables.runs(store)
    listed = [*results.baselines["id"], *results.runs["id"]]
    runs = runs.with_columns(arm=arms(runs))
    explains = pl.col("arm").is_in(["clipping", "noise", "original"])
    seeds, lrs = list(results.config.seeds), list(results.config.lrs)
    kept = runs.filter(
        pl.col("id").is_in(listed) | (explains & pl.col("seed").is_in(seeds) & pl.col("lr").is_in(lrs))
    )
    if kept.filter(pl.col("id").is_in(listed)).height < len(listed):
        raise StoreError(
            f"a study's store must hold the runs of {FILE_NAME}, found {kept.height} of {len(listed)} in "
            f"{folder}; run the study again"
        )
    bounds = results.runs.select("id", "delta", "epsilon_lower", "epsilon_upper").rename(
        {"epsilon_upper": "epsilon"}
    )
    order = kept.columns
    return (
        kept.drop("delta", "epsilon_lower", "epsilon")
        .join(bounds, on="id", how="left", maintain_order="left")
        .select(order)
    )


def _runs_of(results: Results) -> pl.DataFrame:
    """A study's runs from ``results.json`` alone."""
    config = results.config
    private = results.runs.rename({"epsilon_upper": "epsilon"})
    baselines = results.baselines.with_columns(noise_multiplier=pl.lit(0.0), clip_norm=pl.lit(math.inf))
    table = pl.concat([baselines, private], how="diagonal")
    settings = ["noise_multiplier", "clip_norm", "lr"]
    groups = table.select(settings).unique(maintain_order=True).with_row_index("configuration")
    return table.join(groups, on=settings, how="left", maintain_order="left").select(
        "id",
        "status",
        *settings,
        "seed",
        "steps",
        pl.lit(float(config.batch_size)).alias("expected_batch_size"),
        pl.col("configuration").cast(pl.Int64),
        "delta",
        "epsilon_lower",
        "epsilon",
        pl.col("steps").alias("step"),
        pl.lit(None, dtype=pl.String).alias("error"),
        "accuracy",
        "loss",
        pl.col("fraction_clipped", "clipping_bias", "noise_norm").name.prefix("mean_"),
    )


def _published(
    epsilons: tuple[EpsilonRow, ...],
) -> Callable[[Mapping[str, Scalar]], float | None] | None:
    by_sigma = {row.noise_multiplier: row.published for row in epsilons}
    if all(value is None for value in by_sigma.values()):
        return None

    def published(setting: Mapping[str, Scalar]) -> float | None:
        sigma = setting.get("noise_multiplier")
        return by_sigma.get(float(sigma)) if isinstance(sigma, int | float) else None

    return published


def _counts(runs: pl.DataFrame) -> dict[str, int]:
    return dict(runs.group_by("status", maintain_order=True).len().iter_rows())
