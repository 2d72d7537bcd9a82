"""One run of a results folder with all that a card needs to know of it and of its search.

Nothing that the folder names is imported, neither model nor data. The plan is decoded, which needs its
classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from clifftop.codec import CodecError, from_json
from clifftop.lab.arms import ARM_SQL
from clifftop.lab.contract import RunSetting, RunStore, Status
from clifftop.lab.facts import Facts, read_facts
from clifftop.lab.reading.moment import one_moment
from clifftop.lab.spec import RunSpec
from clifftop.lab.store import Store
from clifftop.lab.store.settings import ALL_SETTINGS, parse_settings
from clifftop.lab.sweep import Release
from clifftop.report.card.base import CardError
from clifftop.vocabulary import Arm

NAMED, ONLY, BEST = "named", "only", "best"
"""How the run of a card was chosen: by the caller, as the only one there is, or for its score."""

_NOT_PRIVATE: Mapping[str, str] = {
    Arm.NEITHER: "it has neither clipping nor noise (a baseline)",
    Arm.CLIPPING: "it has no noise (a counterfactual run of clipping alone)",
    Arm.NOISE: "nothing bounds an example's gradient (a counterfactual run of noise alone)",
    Arm.ORIGINAL: "it is the model before it was made fit for privacy, trained plainly",
}
_RUNS = (
    # Two paths give JSON text, in which a noise seed of 256 bits keeps its digits.
    f"SELECT key, id, status, {ARM_SQL}, json_extract(spec, '$.noise_seed', '$.seed') FROM run ORDER BY key"
)


@final
@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a sweep said beforehand; of sweeps of any version.

    Attributes:
        public: whether the data are public.
        release: which runs are to be released.
        objective: the metric that the best is chosen by.
        maximize: whether more of it is better.
    """

    public: bool
    release: Release
    objective: str
    maximize: bool


@final
@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A finished private run of a results folder.

    Attributes:
        folder: where it is.
        study: the name of the sweep or study.
        spec: the run.
        chosen: `NAMED`, `ONLY` or `BEST`.
        objective: the metric that the best is chosen by.
        sweep: what the folder's sweep said; None for a study.
        setting: what the sweep says of the run.
        facts: of the making.
        cost: the search's cost as `cost.json` has it.
        noise_norms: of each step; None where they were not recorded.
        evaluations: how often test rows were looked at.
        private_runs: of the folder, this one included.
        other_runs: of the folder, without a guarantee: baselines, counterfactual runs.
        sharing: how many other private runs draw the same noise.
        unfinished: private runs of the folder that have not finished.
        random_seeds: whether the operating system drew the run's seeds (by `clifftop transfer`).
    """

    folder: Path
    study: str
    spec: RunSpec
    chosen: str
    objective: str
    sweep: Declared | None
    setting: RunSetting | None
    facts: Facts | None
    cost: Mapping[str, Any] | None
    noise_norms: np.ndarray | None
    evaluations: int
    private_runs: int
    other_runs: int
    sharing: int
    unfinished: int
    random_seeds: bool


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the table of runs says of one."""

    key: int
    id: str
    status: str
    noise_key: int
    arm: str

    @property
    def is_private(self) -> bool:
        return self.arm == Arm.BOTH


def read_run(folder: Path, prefix: str | None) -> StoredRun:
    """The run whose id starts with ``prefix``; without one the only private run, or the best of them.

    Raises:
        CardError: there is no card to be made of it.
        StoreError: the folder cannot be read.
    """
    with Store.read(folder) as store, one_moment(store):
        sweep = _artifact(store, "sweep.json", _declared)
        objective, maximize = ("accuracy", True) if sweep is None else (sweep.objective, sweep.maximize)
        runs = [
            _Known(key=key, id=run_id, status=status, arm=arm, noise_key=_noise_key(*json.loads(seeds)))
            for key, run_id, status, arm, seeds in store.query(_RUNS)
        ]
        if prefix is None:
            run, chosen = _chosen(store, runs, folder, objective, maximize=maximize)
        else:
            run, chosen = _named(runs, prefix), NAMED
        _require_finished(run)
        private = [one for one in runs if one.is_private]
        ((text,),) = store.query("SELECT spec FROM run WHERE key = ?", (run.key,))
        return StoredRun(
            folder=folder,
            study=store.study,
            spec=_decoded("run", text, _spec),
            chosen=chosen,
            objective=objective,
            sweep=sweep,
            setting=parse_settings(store.query(_ONE_SETTING, (run.key,))).get(run.id),
            facts=read_facts(store),
            cost=_artifact(store, "cost.json", json.loads),
            noise_norms=_noise_norms(store, run.key),
            evaluations=_evaluations(store, run.key),
            private_runs=len(private),
            other_runs=len(runs) - len(private),
            sharing=sum(one.noise_key == run.noise_key for one in private) - 1,
            unfinished=sum(one.status not in ("done", "diverged") for one in private),
            random_seeds=bool(_artifact(store, "transfer.json", _drew_seeds)),
        )


_ONE_SETTING = ALL_SETTINGS.replace(" ORDER BY run.key", " WHERE run.key = ?")


def _noise_key(noise_seed: int | None, seed: int) -> int:
    return seed if noise_seed is None else noise_seed


def _named(runs: list[_Known], prefix: str) -> _Known:
    found = [run for run in runs if run.id.startswith(prefix.lower())] if prefix else []
    if len(found) != 1:
        raise CardError(
            f"a card needs the start of one run's id, found {len(found)} runs with {prefix!r}; "
            "list them with: clifftop runs"
        )
    return found[0]


def _chosen(
    store: RunStore, runs: list[_Known], folder: Path, objective: str, *, maximize: bool
) -> tuple[_Known, str]:
    done = {run.key: run for run in runs if run.is_private and run.status == Status.DONE}
    if not done:
        raise CardError(
            f"a card needs a private run that is done, found none of {len(runs)} runs in {folder}; "
            "train one with clipping and noise to its end"
        )
    if sum(run.is_private for run in runs) == 1:
        return next(iter(done.values())), ONLY
    rows = store.query("SELECT run, value, max(step) FROM metric WHERE name = ? GROUP BY run", (objective,))
    scores = {key: value for key, value, _ in rows if key in done and value is not None}
    if not scores:
        return next(iter(done.values())), BEST
    sign = 1.0 if maximize else -1.0
    return done[max(scores, key=lambda key: sign * scores[key])], BEST


def _require_finished(run: _Known) -> None:
    """Errors: CardError for a run that there is no card of."""
    if not run.is_private:
        raise CardError(
            f"a card needs a private run, found run {run.id}: {_NOT_PRIVATE[run.arm]}, so that nothing of it "
            "may be released; choose another with --run"
        )
    if run.status == Status.DIVERGED:
        raise CardError(
            f"a card needs a run that trained to its end, found run {run.id} diverged: its parameters are "
            "not finite, and there is no model to release; choose another with --run"
        )
    if run.status != Status.DONE:
        raise CardError(
            f"a card needs a run that has finished, found run {run.id} {run.status}; train it to its end"
        )


def _spec(text: str) -> RunSpec:
    return from_json(text, RunSpec)


def _declared(text: str) -> Declared:
    """Only what is asked for: a sweep of another version may have other fields."""
    found = json.loads(text)
    try:
        return Declared(
            public=found["public"],
            release=Release[found["release"]["name"]],
            objective=found["objective"],
            maximize=found["maximize"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a sweep without {error}") from error


def _drew_seeds(text: str) -> bool:
    return json.loads(json.loads(text)["name"])["seed"] is None


def _artifact(store: RunStore, name: str, parse: Any) -> Any:
    content = store.artifact(name)
    return None if content is None else _decoded(name, content.decode(), parse)


def _decoded(what: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except (CodecError, ValueError) as error:
        raise CardError(
            f"a card needs {what} to be of parts that this version knows, found {error}; nothing is claimed "
            "of what is not known"
        ) from error


def _noise_norms(store: RunStore, key: int) -> np.ndarray | None:
    rows = store.query(
        "SELECT vals FROM trace WHERE run = ? AND name = 'noise_norm' ORDER BY first_step", (key,)
    )
    return np.frombuffer(b"".join(values for (values,) in rows), dtype="<f4") if rows else None


def _evaluations(store: RunStore, key: int) -> int:
    ((count,),) = store.query("SELECT count(DISTINCT step) FROM metric WHERE run = ?", (key,))
    return int(count)
