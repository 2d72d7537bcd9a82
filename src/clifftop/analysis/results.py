"""A results folder's ``results.json``, read into typed values and polars frames.

Every fault is one line that names the file and the key: a file cut short, a missing key, a value of
the wrong type, another schema. Whether the *content* holds together (every run present, epsilons
that recompute) is for `clifftop.report.validation`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clifftop.analysis.jsonio import ResultsError, read_document
from clifftop.analysis.section import Section

SCHEMA = 1
FIXED_ORDER = "fixed order"
"""How a study's batches were formed, where it was not by Poisson sampling."""
FILE_NAME = "results.json"


@dataclass(frozen=True, kw_only=True)
class Epsilon:
    """An interval that holds the true epsilon; ``upper`` is the value to report."""

    lower: float
    estimate: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What was run: the grid and what all runs share. Units: accuracy as a fraction, delta absolute."""

    study: str
    title: str
    question: str
    noise_multipliers: tuple[float, ...]
    clip_norms: tuple[float, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    steps: int
    batch_size: int
    num_train: int
    num_test: int
    num_parameters: int
    sampling: str
    neighboring_relation: str
    delta: float
    normalizer: str
    caveats: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Where and how the study ran."""

    created: str
    runtime_seconds: float
    training_seconds: float
    python: str
    torch: str
    numpy: str
    clifftop: str
    machine: Mapping[str, object]
    determinism: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class EpsilonRow:
    """One noise multiplier's epsilons: as published, and true for each way of forming batches."""

    noise_multiplier: float
    published: float | None
    fixed_order: Epsilon | None
    poisson: Epsilon | None

    def true(self, sampling: str) -> Epsilon | None:
        """The column that holds for runs whose batches were formed this way."""
        return self.fixed_order if sampling == FIXED_ORDER else self.poisson


@dataclass(frozen=True, kw_only=True)
class Results:
    """All of a ``results.json``.

    Attributes:
        config: what was run.
        metadata: where and how.
        baselines: one row a run without privacy: ``id, lr, seed, steps, accuracy, loss, status``.
        runs: one row a private run: the same and ``noise_multiplier, clip_norm, delta, sampling,
            epsilon_published, epsilon_lower, epsilon_estimate, epsilon_upper, fraction_clipped,
            norm_q10, norm_median, norm_q90, clipping_bias, noise_norm``.
        epsilons: the three-epsilon table, one row a noise multiplier.
        source: the file, as messages name it.
        digest: SHA-256 of the file, in hexadecimal.
    """

    config: StudyConfig
    metadata: Metadata
    baselines: pl.DataFrame
    runs: pl.DataFrame
    epsilons: tuple[EpsilonRow, ...]
    source: str
    digest: str


Reader = Callable[[Section, str], object]
_BASELINE_COLUMNS: Mapping[str, tuple[Reader, pl.DataType]] = {
    "id": (Section.text, pl.String()),
    "lr": (Section.number, pl.Float64()),
    "seed": (Section.count, pl.Int64()),
    "steps": (Section.count, pl.Int64()),
    "accuracy": (Section.number, pl.Float64()),
    "loss": (Section.optional_number, pl.Float64()),
    "status": (Section.text, pl.String()),
}
_RUN_COLUMNS: Mapping[str, tuple[Reader, pl.DataType]] = {
    **_BASELINE_COLUMNS,
    "noise_multiplier": (Section.number, pl.Float64()),
    "clip_norm": (Section.number, pl.Float64()),
    "delta": (Section.number, pl.Float64()),
    "sampling": (Section.text, pl.String()),
    "epsilon_published": (Section.optional_number, pl.Float64()),
}
_EPSILON_KEYS = ("lower", "estimate", "upper")
_DIAGNOSTICS = ("fraction_clipped", "norm_q10", "norm_median", "norm_q90", "clipping_bias", "noise_norm")


def load_results(folder: Path) -> Results:
    """Read ``results.json`` of a results folder.

    Raises:
        ResultsError: one line naming the file and the key.
    """
    path = folder / FILE_NAME
    document, raw = read_document(path)
    return parse_results(document, source=str(path), digest=hashlib.sha256(raw).hexdigest())


def parse_results(document: Mapping[str, object], *, source: str, digest: str) -> Results:
    """The typed view of a results document; ``source`` is the name that errors carry."""
    root = Section(source=source, where="", values=document)
    schema = root.count("schema")
    if schema != SCHEMA:
        raise ResultsError(
            f"{source}: key 'schema' must be {SCHEMA}, found schema={schema}; use the version that wrote it"
        )
    return Results(
        config=_config(root.section("config")),
        metadata=_metadata(root.section("metadata")),
        baselines=_frame(root.sections("baseline_runs"), _BASELINE_COLUMNS),
        runs=_runs_frame(root.sections("dp_runs")),
        epsilons=tuple(_epsilon_row(row) for row in root.sections("epsilons")),
        source=source,
        digest=digest,
    )


def _config(section: Section) -> StudyConfig:
    return StudyConfig(
        study=section.text("study"),
        title=section.text("title"),
        question=section.text("question"),
        noise_multipliers=section.numbers("noise_multipliers"),
        clip_norms=section.numbers("clip_norms"),
        lrs=section.numbers("lrs"),
        seeds=section.counts("seeds"),
        epochs=section.count("epochs"),
        steps=section.count("steps"),
        batch_size=section.count("batch_size"),
        num_train=section.count("num_train"),
        num_test=section.count("num_test"),
        num_parameters=section.count("num_parameters"),
        sampling=section.text("sampling"),
        neighboring_relation=section.text("neighboring_relation"),
        delta=section.number("delta"),
        normalizer=section.text("normalizer"),
        caveats=section.texts("caveats"),
    )


def _metadata(section: Section) -> Metadata:
    return Metadata(
        created=section.text("created"),
        runtime_seconds=section.number("runtime_seconds"),
        training_seconds=section.number("training_seconds"),
        python=section.text("python"),
        torch=section.text("torch"),
        numpy=section.text("numpy"),
        clifftop=section.text("clifftop"),
        machine=section.section("machine").values,
        determinism=section.section("determinism").values,
    )


def _frame(rows: Sequence[Section], columns: Mapping[str, tuple[Reader, pl.DataType]]) -> pl.DataFrame:
    data = {name: [read(row, name) for row in rows] for name, (read, _) in columns.items()}
    return pl.DataFrame(data, schema={name: dtype for name, (_, dtype) in columns.items()})


def _runs_frame(rows: Sequence[Section]) -> pl.DataFrame:
    epsilons = [row.section("epsilon") for row in rows]
    diagnostics = [row.section("diagnostics") for row in rows]
    extra = {f"epsilon_{key}": [epsilon.number(key) for epsilon in epsilons] for key in _EPSILON_KEYS}
    extra |= {key: [row.optional_number(key) for row in diagnostics] for key in _DIAGNOSTICS}
    more = pl.DataFrame(extra, schema=dict.fromkeys(extra, pl.Float64()))
    return pl.concat([_frame(rows, _RUN_COLUMNS), more], how="horizontal")


def _epsilon_row(section: Section) -> EpsilonRow:
    return EpsilonRow(
        noise_multiplier=section.number("noise_multiplier"),
        published=section.optional_number("published"),
        fixed_order=_epsilon(section.optional_section("fixed_order")),
        poisson=_epsilon(section.optional_section("poisson")),
    )


def _epsilon(section: Section | None) -> Epsilon | None:
    if section is None:
        return None
    return Epsilon(
        lower=section.number("lower"), estimate=section.number("estimate"), upper=section.number("upper")
    )
