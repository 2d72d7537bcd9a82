"""A tuning from beginning to end: trials drawn once, all trained, the best released, the rest destroyed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from clifftop.lab.data import load_data
from clifftop.lab.executors import InProcess
from clifftop.lab.machine import threads_for
from clifftop.lab.sweep.axes import Axis, Between
from clifftop.lab.sweep.fit import Loaded, check_fit
from clifftop.lab.tuning.contest import begin, compete
from clifftop.lab.tuning.design import Design, design
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.release import Released, read_release, release
from clifftop.lab.tuning.scores import refuse_clipping
from clifftop.lab.tuning.secret import SecretFolder
from clifftop.lab.tuning.state import DRAWN, Memory

if TYPE_CHECKING:
    from clifftop.accounting.selection_bounds import SelectionLaw
    from clifftop.datasets import TrainTest
    from clifftop.lab.jobs import Executor
    from clifftop.lab.spec import Scalar
    from clifftop.lab.sweep import Sweep


@final
@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """Where scores come from: the data's test rows, which are either public or private.

    Attributes:
        are_public: whether anyone may see these rows. Private ones must not be trained on, and which part
            a row belongs to must not depend on other rows.
    """

    are_public: bool


def plan_tuning(
    sweep: Sweep, trials: SelectionLaw, *, scored: ScoredRows, target_epsilon: float | None = None
) -> Design:
    """What a tuning would do and cost; it counts the rows of the data, checks the model, and trains nothing.

    Raises:
        TuneError: the sweep cannot be tuned like this.
        SweepFault: model, data and loss do not fit together.
    """
    axes = sweep.axes_in_order.without(("seed",))
    point = {name: axis.at(0.0) for name, axis in axes.items()}
    factory = sweep.data_at(point)
    data = load_data(factory, seed=0)
    if load_data(factory, seed=1) is not data:
        raise TuneError(
            f"all trials must train on one data set, found {factory.target}, which takes a seed; "
            "set its seed among its options"
        )
    _require_other_rows(data, factory.target)
    refuse_clipping(sweep.metrics)
    planned = design(
        sweep,
        trials,
        num_examples=len(data.train.targets[0]),
        num_scored=None if scored.are_public else len(data.test.targets[0]),
        target_epsilon=target_epsilon,
    )
    check_fit(sweep, _kinds(axes, point), Loaded(sweep))
    return planned


def _kinds(axes: Mapping[str, Axis], first: Mapping[str, Scalar]) -> tuple[Mapping[str, Scalar], ...]:
    """Points at which every listed value of the model's and the optimiser's axes is met once."""
    found = [first]
    for name, axis in axes.items():
        if name.startswith(("model.", "optimizer")) and not isinstance(axis, Between):
            found += [{**first, name: value} for value in axis.values()]
    return tuple(found)


def _require_other_rows(data: TrainTest, name: str) -> None:
    """Refuse test rows that are the training rows, or the first or last of them.

    Raises:
        TuneError: they are. Rows that both hold in another order are not found.
    """
    train, test = ((*rows.inputs, *rows.targets) for rows in (data.train, data.test))
    pairs = list(zip(train, test, strict=True))
    count = len(test[-1])
    parts = (slice(None, count), slice(-count, None))
    if any(all(np.array_equal(a[part], b) for a, b in pairs) for part in parts):
        raise TuneError(
            f"trials must be scored on rows that none trains on, found test rows of {name} that are its "
            "training rows; hold rows out"
        )


def tune(
    planned: Design,
    folder: Path | str,
    *,
    executor: Executor | None = None,
    started: Callable[[], None] | None = None,
) -> Released:
    """Carry a tuning out, or go on with it, and release its winner.

    Trials are drawn once, when the tuning begins; a call that goes on trains the same ones. After the release
    everything else is destroyed. A folder that holds a release is left as it is.

    Args:
        planned: by `plan_tuning`; the same on every call.
        folder: of the release; while the tuning lasts it holds a secret folder too.
        executor: who trains; by default this process.
        started: called when training begins.

    Raises:
        TuneError: another tuning is under way there, or a trial failed; nothing is released.
    """
    folder = Path(folder)
    secret = SecretFolder(folder)
    found = read_release(folder)
    if found is not None and found.document.get("design") != planned.id:
        raise TuneError(
            f"{folder} must hold no release of another tuning, found one; choose another folder, and mind "
            "that the two add up"
        )
    if found is None:
        secret.open()
        with secret.held():
            memory = Memory(secret)
            drawn = begin(planned, memory)
            if started is not None:
                started()
            with threads_for(drawn.trials[0].spec) if drawn.trials else nullcontext():
                leader = compete(planned, drawn, memory, executor=executor or InProcess())
            winner = None
            if leader is not None:
                winner = (drawn.trials[leader.trial], leader, memory.parameters(leader))
            found = release(folder, planned, winner)
    secret.destroy_all(last=DRAWN)
    return found


def abandon(folder: Path | str) -> bool:
    """Destroy a tuning under way, of which nothing was released; whether there was one.

    Whoever abandons a tuning because of how it went, its running time included, and begins another has
    changed the law of the number of trials.
    """
    secret = SecretFolder(Path(folder))
    if not secret.path.is_dir():
        return False
    with secret.held():
        pass  # nobody else may be at work
    secret.destroy_all(last=DRAWN)
    return True
