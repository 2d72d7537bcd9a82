"""`clifftop sweep`: train a sweep of the user's own model and data, or go on with one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from clifftop.cli.options import Json, Whole
from clifftop.cli.output import print_json, print_line, print_table
from clifftop.files import write_all

_KNOWN_SEEDS = (
    "The noise here follows from the sweep itself: whoever has its file can draw it again. Before a release, "
    "set secret_seeds = true under [privacy]; the runs then train anew, with a secret that the folder keeps."
)

if TYPE_CHECKING:
    from clifftop.lab import Executor
    from clifftop.lab.sweep import Sweep, TrainedSweep


def sweep(
    file: Path | None = None,
    /,
    *,
    init: Annotated[
        Path | None, Parameter(help="write a sweep file to start from here, and do no more.")
    ] = None,
    out: Path | None = None,
    workers: Whole = None,
    executor: str | None = None,
    address: str | None = None,
    device: str = "cpu",
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    as_json: Json = False,
) -> int:
    """Train a sweep of your own model on your own data, or go on where it stopped.

    - A file to start from: `clifftop sweep --init sweep.toml`
    - What it would train: `clifftop sweep sweep.toml --dry-run`
    - Train it, resume it, or extend it after a change: `clifftop sweep sweep.toml`

    Args:
        file: the sweep, in TOML or as a Python file with a module-level `sweep`. Model and data factories
            may lie beside it; a Python file and the factories' modules are executed.
        init: write a sweep file to start from under this name, and do no more.
        out: folder of the results, out/NAME by default; runs found there are not trained again.
        workers: how many cohorts train at the same time; chosen by the amount of work by default.
        executor: who trains them: in-process, pool (of processes) or ray; chosen by the work by default.
        address: of a running Ray cluster, host:port or auto; by default RAY_ADDRESS, or one of its own.
        device: where they train: cpu, cuda, cuda:1.
        dry_run: print what would be trained, and train nothing.
        as_json: print one JSON document and nothing else.
    """
    if init is not None:
        return _write_template(init, file)
    if file is None:
        raise ValueError(
            "a sweep file must be given, found none; clifftop sweep --init sweep.toml writes one"
        )
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be at least 1, found {workers}; leave it out to have it chosen")
    from clifftop.lab.sweep import load_sweep
    from clifftop.lab.sweep.files import faults_name

    asked = load_sweep(file)
    with faults_name(file):
        if dry_run:
            return _tell_plan(asked, as_json=as_json)
        folder = Path("out") / asked.name if out is None else out
        choose = partial(_executor, executor, workers, address)
        trained = _train(asked, folder, choose, workers, device)
    if as_json:
        print_json(_document(trained))
    else:
        _tell(trained)
    return 0


def _write_template(path: Path, file: Path | None) -> int:
    from clifftop.lab.sweep.template import TEMPLATE

    if file is not None:
        raise ValueError(f"--init must stand without a sweep file, found {file}; leave one of them out")
    if path.exists():
        raise ValueError(f"--init must name a new file, found {path}; choose another name")
    write_all(path.parent, {path.name: TEMPLATE.encode()})
    print_line(f"{path}: train it with: clifftop sweep {path}")
    return 0


def _executor(name: str | None, workers: int | None, address: str | None, steps: int) -> Executor:
    from clifftop.lab.machine import executor_for

    return executor_for(name, workers=workers, steps=steps, address=address)


def _train(
    asked: Sweep, folder: Path, choose: Callable[[int], Executor], workers: int | None, device: str
) -> TrainedSweep:
    from clifftop.cli.live import live_view
    from clifftop.lab.sweep import train_sweep

    with live_view(folder, asked.goal.metric, workers=workers, maximize=asked.goal.maximize) as show:
        return train_sweep(asked, folder, executor=choose, progress=show, device=device)


def _tell_plan(asked: Sweep, *, as_json: bool) -> int:
    from clifftop.lab.sweep import plan_sweep

    planned = plan_sweep(asked)
    if as_json:
        facts = {"sweep": asked.name, "num_examples": planned.num_examples, "delta": asked.delta}
        facts |= {"runs": planned.runs, "steps": planned.run_steps, "more_runs_follow": planned.more}
        print_json(facts | {"groups": [vars(group) for group in planned.groups]})
        return 0
    from clifftop.cli.sweep_tables import plan_table

    print_table(plan_table(asked, planned))
    more = "; the search then asks for more, round by round" if planned.more else ""
    print_line(f"{planned.runs} runs, {planned.run_steps} steps in all, on {planned.num_examples} rows{more}")
    print_line("nothing was trained, and nothing written")
    return 0


def _tell(trained: TrainedSweep) -> None:
    from clifftop.cli.sweep_tables import best_table

    print_table(best_table(trained))
    for said in trained.cost.sentences().values():
        print_line(said)
    if not (trained.sweep.public or trained.sweep.secret_seeds):
        print_line(_KNOWN_SEEDS)
    result = trained.result
    diverged = f", {result.diverged} diverged" if result.diverged else ""
    print_line(
        f"{result.runs} runs{diverged}, {result.trained} of them trained now, in {result.seconds:.1f} s: "
        f"{trained.folder}"
    )


def _document(trained: TrainedSweep) -> dict[str, Any]:
    result = trained.result
    facts = {"runs": result.runs, "trained_now": result.trained, "diverged": result.diverged}
    facts |= {"seconds": result.seconds, "training_seconds": result.training_seconds}
    where = {"sweep": trained.sweep.name, "folder": str(trained.folder), "num_examples": trained.num_examples}
    goal = {"objective": trained.sweep.goal.metric, "maximize": trained.sweep.goal.maximize}
    best = [vars(cell) for cell in trained.best]
    return {**where, **facts, **goal, "best": best, "cost": trained.cost.to_json()}
