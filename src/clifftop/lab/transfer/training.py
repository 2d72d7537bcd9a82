"""Training on the target exactly what was chosen on the proxy: one run for each level that is asked for."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from clifftop.codec import canonical_json
from clifftop.lab.contract import RunSetting
from clifftop.lab.costs import SearchCost, search_cost
from clifftop.lab.facts import keep_facts
from clifftop.lab.jobs import Executor
from clifftop.lab.runner import Progress, run_sweep
from clifftop.lab.spec import RunSpec
from clifftop.lab.store import Store
from clifftop.lab.sweep import Point, Sweep
from clifftop.lab.sweep.fit import Loaded, check_fit
from clifftop.lab.sweep.privacy import epsilon_of
from clifftop.lab.sweep.train import COST_ARTIFACT, SWEEP_ARTIFACT
from clifftop.lab.transfer.carry import USUAL, Carried, Rules, choose
from clifftop.lab.transfer.results import Results, TransferError
from clifftop.noise import Secure

TRANSFER_ARTIFACT = "transfer.json"


@final
@dataclass(frozen=True, kw_only=True)
class TransferredRun:
    """One run on the target.

    Attributes:
        carried: where its setting comes from.
        run_id: in the target's store.
        noise_multiplier: of the run, calibrated to the target's size.
        epsilon: of this run alone, from above.
        metrics: at the end; without the goal's metric if it diverged.
    """

    carried: Carried
    run_id: str
    noise_multiplier: float
    epsilon: float
    metrics: Mapping[str, float]


@final
@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What was trained on the target, and what it cost.

    Attributes:
        folder: holds the runs.
        num_examples: N of the target.
        runs: one a level, as asked.
        cost: of the target's data: ``composition`` if all runs are released, ``single`` for the costliest
            alone if it was fixed beforehand that only that one will be.
    """

    folder: Path
    num_examples: int
    runs: tuple[TransferredRun, ...]
    cost: SearchCost


def transfer(
    proxy: Results,
    target: Sweep,
    folder: Path | str,
    *,
    rules: Rules = USUAL,
    seed: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Transferred:
    """Train the proxy's best setting on the target, once for each level of privacy that the target asks for.

    The settings depend on public data alone, so the target's data pay for the runs and for nothing else.
    Every run has draws of its own, from secret seeds of the operating system by AES-128: whoever has the
    folder can draw the noise again, so keep it as secret as the data. The same call goes on where it stopped.

    Args:
        proxy: what was tuned (`read_results`).
        target: its axes are what is taken over.
        folder: of the results; a new one, or that of the same transfer.
        rules: what changes if the proxy has another size.
        seed: for public data only: the first of the runs' seeds, so that a result can be repeated.
        executor: who trains; by default this process.
        progress: called as blocks come in.

    Errors: TransferError, as `choose`, for a folder of another transfer, and for a seed on data that are not
    declared public; SweepFault, StoreError and SweepError as `clifftop.lab.sweep.train_sweep`.
    """
    if seed is not None and not target.public:
        raise TransferError(
            f"a run on private data must have a secret seed, found seed={seed}; leave seed out"
        )
    data = Loaded(target)
    first = {name: value for name, value in _any_point(target).items() if name != "seed"}
    num_examples = data.count(first)
    chosen = choose(proxy, target, num_examples=num_examples, rules=rules)
    check_fit(target, [one.point for one in chosen], data)
    with Store.open(folder, study=target.name) as store:
        specs = _specs(store, target, chosen, num_examples=num_examples, seed=seed)
        keep_facts(store, target, [one.point for one in chosen], data=data, device="cpu")
        run_sweep(store, specs, executor=executor, progress=progress)
        cost = search_cost(specs, num_examples=num_examples, delta=target.delta, public=target.public)
        store.put_artifact(COST_ARTIFACT, json.dumps(cost.to_json(), sort_keys=True).encode())
        settings, metrics = store.settings(), _metrics(store)
    runs = tuple(
        TransferredRun(
            carried=one,
            run_id=spec.id,
            noise_multiplier=spec.noise_multiplier or 0.0,
            epsilon=settings[spec.id].epsilon_upper,
            metrics=metrics.get(spec.id, {}),
        )
        for one, spec in zip(chosen, specs, strict=True)
    )
    return Transferred(folder=Path(folder), num_examples=num_examples, runs=runs, cost=cost)


def _any_point(target: Sweep) -> Point:
    """A point to ask the data's size at: the first values of axes of the data, which a run may not vary."""
    return {name: target.axes_in_order.listed(name)[0] for name in target.axes if name.startswith("data.")}


def _specs(
    store: Store, target: Sweep, chosen: Sequence[Carried], *, num_examples: int, seed: int | None
) -> list[RunSpec]:
    """The runs: those that this transfer has drawn before, or new ones."""
    name = json.dumps(
        {
            "sweep": target.canonical,
            "points": [canonical_json(dict(one.point)) for one in chosen],
            "seed": seed,
        },
        sort_keys=True,
    )
    before = store.artifact(TRANSFER_ARTIFACT)
    if before is not None:
        found = json.loads(before)
        if found["name"] != name:
            raise TransferError(
                f"{store.path.parent} must belong to this transfer, found another one; choose another folder"
            )
        known = store.specs()
        return [known[run_id] for run_id in found["run_ids"]]
    if store.statuses():
        raise TransferError(
            f"{store.path.parent} must be a transfer's, found a sweep's runs; choose another folder"
        )
    specs = [
        _spec(target, one.point, num_examples=num_examples, seed=None if seed is None else seed + place)
        for place, one in enumerate(chosen)
    ]
    store.add(specs)
    store.describe(_setting(target, one, spec, num_examples) for one, spec in zip(chosen, specs, strict=True))
    store.put_artifact(SWEEP_ARTIFACT, target.canonical.encode("ascii"))
    document = {"name": name, "run_ids": [spec.id for spec in specs]}
    store.put_artifact(TRANSFER_ARTIFACT, json.dumps(document, sort_keys=True).encode())
    return specs


def _spec(target: Sweep, point: Point, *, num_examples: int, seed: int | None) -> RunSpec:
    if seed is not None:
        return target.spec(point, num_examples=num_examples, seed=seed, noise_seed=seed)
    spec = target.spec(
        point, num_examples=num_examples, seed=secrets.randbits(63), noise_seed=secrets.randbits(256)
    )
    return replace(spec, streams=Secure())


def _setting(target: Sweep, one: Carried, spec: RunSpec, num_examples: int) -> RunSetting:
    relation = spec.plan.neighboring_relation
    event = spec.plan.event(steps=spec.steps, num_examples=num_examples)
    bound = epsilon_of(event, delta=target.delta, neighboring_relation=relation)
    return RunSetting(
        run_id=spec.id,
        point=dict(one.point),
        delta=target.delta,
        epsilon_lower=bound.lower,
        epsilon_upper=bound.upper,
        neighboring_relation=relation.value,
    )


def _metrics(store: Store) -> dict[str, dict[str, float]]:
    """The last value of every metric of every run."""
    # SQLite takes a bare column from the row that holds the maximum.
    rows = store.query(
        "SELECT run.id, metric.name, metric.value, max(metric.step) FROM metric "
        "JOIN run ON run.key = metric.run GROUP BY run.key, metric.name"
    )
    found: dict[str, dict[str, float]] = {}
    for run_id, name, value, _ in rows:
        found.setdefault(run_id, {})[name] = math.nan if value is None else float(value)
    return found
