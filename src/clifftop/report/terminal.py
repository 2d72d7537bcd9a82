"""The frontier as rich tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from clifftop.analysis.configurations import Configuration
from clifftop.analysis.results import FIXED_ORDER, Epsilon, EpsilonRow
from clifftop.analysis.summary import Summary
from clifftop.report.wording import (
    MISSING,
    counted,
    epsilon_claimed,
    epsilon_up,
    mean_std,
    percent,
    plain,
)


def summary_table(summary: Summary, *, lr: float | None = None) -> Table:
    """Accuracy (mean and population std, in percent) by noise multiplier and clip norm.

    Beside each noise multiplier stand its three epsilons; the one that holds for these runs is bold.

    Args:
        summary: of the study.
        lr: which learning rate to show; by default the one the study lists first.

    Raises:
        ValueError: no configuration has this learning rate.
    """
    shown = summary.baselines[0].lr if lr is None else lr
    cells = {(i.noise_multiplier, i.clip_norm): i for i in summary.configurations if i.lr == shown}
    if not cells:
        known = ", ".join(plain(value) for value in summary.lrs)
        raise ValueError(f"lr must be one of the study's ({known}), found lr={plain(shown)}")
    baseline = next((item for item in summary.baselines if item.lr == shown), summary.baseline)
    table = Table(
        title=f"Test accuracy in %, learning rate {plain(shown)}, {counted(summary.num_seeds, 'seed')}",
        caption=f"without privacy: {mean_std(baseline.accuracy)}. Epsilon at delta = {plain(summary.delta)}; "
        f"bold: the one that is true of these runs, upper end, rounded up{_about_seeds(summary)}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    columns = _epsilon_columns(summary)
    _add_columns(table, ("σ", *columns), summary)
    for row in sorted(summary.epsilons, key=lambda row: row.noise_multiplier):
        found = [cells.get((row.noise_multiplier, clip_norm)) for clip_norm in summary.clip_norms]
        epsilons = (show(row) for show in columns.values())
        table.add_row(plain(row.noise_multiplier), *epsilons, *(_accuracy(item) for item in found))
    return table


def learning_rate_table(summary: Summary) -> Table:
    """Each cell at its best learning rate: the mean accuracy and, in brackets, that learning rate."""
    cells = {
        (best.configuration.noise_multiplier, best.configuration.clip_norm): best.configuration
        for best in summary.best_lr
    }
    table = Table(
        title="Test accuracy in %, best learning rate of each cell (in brackets)",
        caption=f"without privacy: {percent(summary.baseline.accuracy.mean)} at learning rate "
        f"{plain(summary.baseline.lr)}. Chosen for being best, so optimistic",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    _add_columns(table, ("σ", "true ε"), summary)
    epsilons = {sigma: item.epsilon.upper for (sigma, _), item in cells.items()}
    for sigma in summary.noise_multipliers:
        tuned = (_tuned(cells.get((sigma, clip_norm))) for clip_norm in summary.clip_norms)
        table.add_row(plain(sigma), epsilon_up(epsilons[sigma]), *tuned)
    return table


def _about_seeds(summary: Summary) -> str:
    if summary.num_seeds < 2:
        return ""
    return (
        ". ± is the standard deviation over seeds; 95% intervals of the means are in the report "
        "and in summary.json"
    )


def _add_columns(table: Table, first: Iterable[str], summary: Summary) -> None:
    clips = [f"C = {plain(clip_norm)}" for clip_norm in summary.clip_norms]
    for header in [*first, *clips]:
        table.add_column(header, justify="right", no_wrap=True)


def _epsilon_columns(summary: Summary) -> dict[str, Callable[[EpsilonRow], Text]]:
    """The epsilon columns that hold anything: header to what it shows of a row."""
    fixed = summary.sampling == FIXED_ORDER
    columns: dict[str, Callable[[EpsilonRow], Text]] = {}
    if any(row.published is not None for row in summary.epsilons):
        columns["ε\npublished"] = lambda row: Text(epsilon_claimed(row.published), style="dim")
    if any(row.fixed_order is not None for row in summary.epsilons):
        columns["ε fixed\norder"] = lambda row: _upper(row.fixed_order, own=fixed)
    if any(row.poisson is not None for row in summary.epsilons):
        columns["ε\nPoisson"] = lambda row: _upper(row.poisson, own=not fixed)
    return columns


def _upper(epsilon: Epsilon | None, *, own: bool) -> Text:
    return Text(MISSING if epsilon is None else epsilon_up(epsilon.upper), style="bold" if own else "")


def _accuracy(item: Configuration | None) -> str:
    return MISSING if item is None else mean_std(item.accuracy)


def _tuned(item: Configuration | None) -> str:
    return MISSING if item is None else f"{mean_std(item.accuracy)} ({plain(item.lr)})"
