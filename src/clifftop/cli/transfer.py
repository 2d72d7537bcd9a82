"""`clifftop transfer`: train what was tuned on a public proxy once on the target, or say what that loses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from clifftop.cli.options import Json, Whole
from clifftop.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from clifftop.lab.sweep import Point
    from clifftop.lab.transfer import Regret, Results, Rules, Transferred


def transfer(
    proxy: Path,
    /,
    *,
    to: Path | None = None,
    out: Path | None = None,
    regret: Annotated[Path | None, Parameter(show_default=False)] = None,
    keep: str = "rate",
    lr: str = "noise",
    seed: Whole = None,
    as_json: Json = False,
) -> int:
    """Train the best settings of a public proxy once each on the target, or say what that loses.

    - Tune on public data: `clifftop sweep proxy.toml --out proxy` (with `public = true`)
    - Then train what was best there, once an epsilon: `clifftop transfer proxy --to target.toml`
    - On benchmarks: `clifftop transfer proxy --regret target`, where the target was swept too

    Args:
        proxy: results folder of a sweep on public data.
        to: sweep file of the target; the proxy's best values replace those of its axes, and its epsilons are
            the ones that are trained.
        out: folder of the target's runs, out/NAME-transferred by default.
        regret: in place of --to: results folder of a sweep of the target, whose data must be public.
        keep: what stays if the target has another size: rate (of sampling, so the batch grows with the data)
            or batch. Epochs and clip norm stay; the noise is calibrated anew.
        lr: noise scales the learning rate of SGD as the noise of a whole training shrinks; kept keeps it.
        seed: for public data only: seeds the runs, which draw secret seeds by default.
        as_json: print one JSON document and nothing else.
    """
    if (to is None) == (regret is None):
        found = "both" if to is not None else "neither"
        raise ValueError(
            f"a transfer needs one of --to and --regret, found {found}; give a sweep file or a folder"
        )
    if regret is not None and (out is not None or seed is not None):
        raise ValueError("--regret trains nothing, found --out or --seed beside it; leave them out")
    from clifftop.lab.transfer import read_results

    rules = _rules(keep, lr)
    results = read_results(proxy)
    if regret is not None:
        return _tell_regret(results, regret, rules, as_json=as_json)
    assert to is not None
    return _train(results, to, out, rules, seed, as_json=as_json)


def _rules(keep: str, lr: str) -> Rules:
    from clifftop.lab.transfer import Keep, Lr, Rules

    for flag, found, known in (("--keep", keep, Keep), ("--lr", lr, Lr)):
        names = [member.value for member in known]
        if found not in names:
            raise ValueError(f"{flag} must be {' or '.join(names)}, found {found!r}; choose one")
    return Rules(keep=Keep(keep), lr=Lr(lr))


def _train(
    proxy: Results, file: Path, out: Path | None, rules: Rules, seed: int | None, *, as_json: bool
) -> int:
    from clifftop.cli.progress import shown_progress
    from clifftop.lab.sweep import load_sweep
    from clifftop.lab.sweep.files import faults_name
    from clifftop.lab.transfer import transfer as train

    target = load_sweep(file)
    folder = Path("out") / f"{target.name}-transferred" if out is None else out
    with faults_name(file), shown_progress() as show:
        done = train(proxy, target, folder, rules=rules, seed=seed, progress=show)
    if as_json:
        print_json(_document(done))
    else:
        _tell(done, proxy)
    return 0


def _document(done: Transferred) -> dict[str, Any]:
    runs = [
        {
            "run_id": run.run_id,
            "level": run.carried.level,
            "proxy_setting": dict(run.carried.source.point),
            "setting": dict(run.carried.point),
            "noise_multiplier": run.noise_multiplier,
            "epsilon": run.epsilon,
            "metrics": dict(run.metrics),
        }
        for run in done.runs
    ]
    facts = {"folder": str(done.folder), "num_examples": done.num_examples, "runs": runs}
    return facts | {"cost": done.cost.to_json()}


def _tell(done: Transferred, proxy: Results) -> None:
    print_table(_run_table(done, proxy.level_name.replace("_", " ")))
    print_line("scores are those of the target's test rows, which no epsilon here speaks of")
    cost = done.cost
    if cost.is_public:
        print_line("the target's data were declared public: nothing of this costs privacy")
    else:
        from clifftop.report.wording import epsilon_up

        together = epsilon_up(cost.composition.upper, digits=4)
        which = "the run" if len(done.runs) == 1 else f"all {len(done.runs)} of them"
        print_line(
            f"releasing {which}: epsilon {together} at delta {cost.delta:g} ({cost.composition.method}); "
            "the proxy's search costs nothing of the target's data. "
            "Keep the folder secret: the noise can be drawn again from it."
        )
    print_line(f"runs: {done.folder}")


def _run_table(done: Transferred, level: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from clifftop.report.wording import epsilon_up, plain

    names = list(dict.fromkeys(name for run in done.runs for name in run.metrics))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (level, "setting", "noise multiplier", "epsilon, at most", *names):
        table.add_column(Text(title), justify="left" if title == "setting" else "right")
    for run in done.runs:
        reached = (f"{run.metrics[name]:.4f}" if name in run.metrics else "" for name in names)
        table.add_row(
            plain(run.carried.level),
            _setting(run.carried.point),
            plain(run.noise_multiplier),
            epsilon_up(run.epsilon, digits=4),
            *reached,
        )
    return table


def _tell_regret(proxy: Results, folder: Path, rules: Rules, *, as_json: bool) -> int:
    from clifftop.lab.transfer import read_results, transfer_regret

    target = read_results(folder)
    found = transfer_regret(proxy, target, rules=rules)
    metric, level = target.sweep.goal.metric, target.level_name
    if as_json:
        goal = {"metric": metric, "keep": rules.keep.value, "lr": rules.lr.value, "level": level}
        print_json(goal | {"regrets": [_regret_document(one) for one in found]})
        return 0
    print_table(_regret_table(found, level.replace("_", " ")))
    print_line(
        f"regret: {metric} of the target's own best setting against the transferred one's; "
        "the best of a grid is favoured by chance, so it is rather too large"
    )
    return 0


def _regret_table(found: tuple[Regret, ...], level: str) -> Table:
    from rich import box
    from rich.table import Table

    from clifftop.report.wording import plain

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = (level, "regret", "standard error", "at random", "rank correlation")
    for title in (*numbers, "transferred", "best of the target's own"):
        table.add_column(title, justify="right" if title in numbers else "left")
    for one in found:
        near = "" if one.is_exact else " (nearest)"
        table.add_row(
            plain(one.level),
            *(f"{value:.4f}" for value in (one.regret, one.standard_error, one.random_regret)),
            f"{one.rank_correlation:.2f}",
            _setting(one.transferred) + near,
            _setting(one.best),
        )
    return table


def _regret_document(one: Regret) -> dict[str, Any]:
    return vars(one) | {name: dict(getattr(one, name)) for name in ("source", "transferred", "best")}


def _setting(point: Point) -> str:
    levels = ("target_epsilon", "noise_multiplier")
    return ", ".join(f"{name} {value}" for name, value in point.items() if name not in levels)
