"""The report's findings: sentences made from the numbers, and only as strong as the numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clifftop.analysis.cliffs import COLLAPSE_FRACTION, SAFE_FRACTION
from clifftop.analysis.configurations import Configuration
from clifftop.analysis.learning_rate import BestClipNorm, ClippingCost
from clifftop.analysis.results import Epsilon, EpsilonRow
from clifftop.analysis.summary import Summary, true_upper
from clifftop.report.wording import (
    accuracy_interval,
    counted,
    epsilon_claimed,
    epsilon_up,
    interval_points,
    percent,
    plain,
    points,
    setting,
)

FIXED_ORDER = "fixed order"
VISIBLE_LOSS = 0.01
"""A loss of accuracy below one point is not called a loss."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A finding: what it is in a few words, then the numbers behind it."""

    title: str
    text: str


def headlines(summary: Summary) -> tuple[Headline, ...]:
    """The findings of a study, most important first."""
    found = [_cliff(summary), _safe(summary), _published(summary), _learning_rate(summary)]
    found += [_best_clip_norm(summary), _seeds(summary), _diverged(summary)]
    return tuple(headline for headline in found if headline is not None)


def true_epsilon(row: EpsilonRow, sampling: str) -> Epsilon | None:
    """The column of the three-epsilon table that holds for runs with this ``sampling``."""
    return row.fixed_order if sampling == FIXED_ORDER else row.poisson


def batches(sampling: str) -> str:
    """How batches were formed, in words."""
    return "batches in a fixed order" if sampling == FIXED_ORDER else "batches by Poisson sampling"


def understatement(summary: Summary) -> tuple[tuple[float, EpsilonRow], ...]:
    """True over published epsilon for every noise multiplier that has both finite; lowest first."""
    ratios = []
    for row in summary.epsilons:
        true = true_epsilon(row, summary.sampling)
        if true is not None and row.published is not None and 0 < row.published < float("inf") > true.upper:
            ratios.append((true.upper / row.published, row))
    return tuple(sorted(ratios, key=lambda pair: pair[0]))


def _cliff(summary: Summary) -> Headline:
    cliff = summary.cliff.true_upper.overall
    baseline = percent(cliff.baseline_accuracy)
    half = f"{percent(COLLAPSE_FRACTION, digits=0)} of the accuracy without privacy ({baseline})"
    total = cliff.collapsed + cliff.retained
    if cliff.collapsed == 0:
        low = min(summary.configurations, key=lambda item: item.accuracy.mean)
        text = f"No configuration falls below {half}. "
        text += f"The lowest is {_where(low, summary)} with {_accuracy(low)}."
        interval = low.accuracy.ci95
        if interval is not None and interval[0] < COLLAPSE_FRACTION * cliff.baseline_accuracy:
            text += " That interval reaches below the line, so more seeds may yet show a collapse."
        return Headline(title="No collapse", text=text)
    if cliff.cliff_epsilon is None:
        return Headline(title="Everything collapses", text=f"All {total} configurations fall below {half}.")
    text = (
        f"{cliff.collapsed} of {total} configurations fall below {half}. By the study's definition the cliff "
        f"lies at true epsilon {epsilon_up(cliff.cliff_epsilon, digits=4)}, halfway between the largest that "
        "collapsed and the smallest that did not."
    )
    if cliff.overlapping:
        text += " Some collapse at epsilons where others hold, so epsilon alone does not decide."
    return Headline(title=f"A cliff near epsilon {epsilon_up(cliff.cliff_epsilon, digits=4)}", text=text)


def _safe(summary: Summary) -> Headline:
    cliff = summary.cliff.true_upper.overall
    bar = f"{percent(SAFE_FRACTION, digits=0)} of the accuracy without privacy"
    if cliff.safe_epsilon is None:
        return Headline(title="Utility holds nowhere", text=f"No configuration reaches {bar}.")
    best = max(
        (item for item in summary.configurations if true_upper(item) == cliff.safe_epsilon),
        key=lambda item: item.accuracy.mean,
    )
    return Headline(
        title=f"Utility holds from epsilon {epsilon_up(cliff.safe_epsilon, digits=4)}",
        text=f"The smallest true epsilon at which some configuration reaches {bar} is "
        f"{epsilon_up(cliff.safe_epsilon, digits=4)}: {_where(best, summary)} has {_accuracy(best)}.",
    )


def _published(summary: Summary) -> Headline | None:
    ratios = understatement(summary)
    if summary.cliff.published is None or not ratios:
        return None
    (low, _), (high, row) = ratios[0], ratios[-1]
    true = true_epsilon(row, summary.sampling)
    assert true is not None
    return Headline(
        title=f"The published epsilons {'understate the loss' if low >= 1 else 'are not true'}",
        text=f"The true epsilons are {low:.1f} to {high:.1f} times those published. "
        f"At {setting('σ', row.noise_multiplier)}, {epsilon_claimed(row.published)} was published and "
        f"{epsilon_up(true.upper)} is true of {batches(summary.sampling)}.",
    )


def _learning_rate(summary: Summary) -> Headline | None:
    return _one_learning_rate(summary) if len(summary.lrs) == 1 else _several_learning_rates(summary)


def _one_learning_rate(summary: Summary) -> Headline | None:
    """The smallest clip norm at the least noise: most clipped, least noisy."""
    item = min(summary.configurations, key=lambda item: (item.noise_multiplier, item.clip_norm))
    if item.accuracy_lost is None or item.accuracy_lost.mean < VISIBLE_LOSS:
        return None
    sigma, clip = setting("σ", item.noise_multiplier), setting("C", item.clip_norm)
    lost = points(item.accuracy_lost.mean)
    return Headline(
        title="One learning rate cannot tell clipping from slow training",
        text=f"With the least noise ({sigma}), {clip} loses {lost} points. A clipped step is at most "
        f"learning rate × C long, and every run here has learning rate {plain(item.lr)}: this study cannot "
        "say how much of that loss is clipping and how much is a step too short. Run it with several "
        "learning rates to see.",
    )


def _several_learning_rates(summary: Summary) -> Headline | None:
    cost = min(summary.clipping_cost, key=lambda cost: cost.clip_norm, default=None)
    if cost is None or cost.lost_at_first_lr is None or cost.lost_at_best_lr is None:
        return None
    sigma, clip = setting("σ", cost.noise_multiplier), setting("C", cost.clip_norm)
    lost = cost.lost_at_first_lr.mean
    text = (
        f"With the least noise ({sigma}) and learning rate {plain(cost.first_lr)}, {clip} loses "
        f"{points(lost)} points; at learning rate {plain(cost.best_lr)} it loses "
        f"{points(cost.lost_at_best_lr.mean)}."
    )
    if lost < VISIBLE_LOSS:
        return Headline(title="Clipping alone costs less than a point", text=text)
    title, verdict = _verdict(cost, lost)
    return Headline(title=title, text=f"{text} {verdict}")


def _verdict(cost: ClippingCost, lost: float) -> tuple[str, str]:
    unsure = "The learning rate may explain the cost of clipping"
    gained = cost.recovered
    if gained is None or gained.ci95 is None:
        return unsure, "One seed gives no interval: run more to decide."
    measured = (
        f"Choosing the learning rate on the other seeds recovers {points(gained.mean)} points "
        f"(95% interval {interval_points(gained.ci95)})"
    )
    if gained.ci95[0] <= 0:
        seeds = counted(gained.n, "seed")
        return unsure, f"{measured}. Over {seeds} that interval includes zero: run more to decide."
    if gained.mean < lost / 2:
        return "The learning rate explains part of the cost of clipping", f"{measured}."
    reason = "At one fixed learning rate, a loss that comes from steps too short can be put down to clipping."
    return "What looked like the cost of clipping is the learning rate", f"{measured}: most of it. {reason}"


def _best_clip_norm(summary: Summary) -> Headline | None:
    winners = [item for item in summary.best_clip_norm if item.margin is not None and item.margin.mean > 0]
    if len({winner.clip_norm for winner in winners}) < 2:
        return None
    listed = ", ".join(
        f"{setting('C', winner.clip_norm)} at {plain(winner.lr)} ({percent(winner.accuracy.mean)})"
        for winner in winners
    )
    clear = [winner for winner in winners if _is_clear(winner)]
    moves = len({winner.clip_norm for winner in clear}) > 1
    text = f"With the most noise ({setting('σ', winners[0].noise_multiplier)}), by learning rate: {listed}."
    margins = ", ".join(plain(winner.lr) for winner in clear) if clear else "none of them"
    return Headline(
        title=f"The best clip norm {'moves' if moves else 'may move'} with the learning rate",
        text=f"{text} The lead over the second best has a 95% interval above zero at {margins}.",
    )


def _is_clear(winner: BestClipNorm) -> bool:
    margin = winner.margin
    return margin is not None and margin.ci95 is not None and margin.ci95[0] > 0


def _seeds(summary: Summary) -> Headline:
    widths = [
        (interval[1] - interval[0], item)
        for item in summary.configurations
        if (interval := accuracy_interval(item.accuracy.ci95)) is not None
    ]
    if not widths:
        return Headline(title="One seed", text="One seed gives no intervals: differences may be luck.")
    widest = max(widths, key=lambda pair: pair[0])[1]
    return Headline(
        title=counted(summary.num_seeds, "seed"),
        text=f"The widest 95% interval of a mean accuracy is {_interval(widest)} "
        f"({_where(widest, summary)}).",
    )


def _diverged(summary: Summary) -> Headline | None:
    private = sum(item.diverged for item in summary.configurations)
    without = sum(item.diverged for item in summary.baselines)
    if private + without == 0:
        return None
    kinds = [f"{counted(private, 'private run')}"] if private else []
    kinds += [f"{counted(without, 'run')} without privacy"] if without else []
    text = f"{' and '.join(kinds)} diverged. They are results, and count with their accuracy as measured."
    return Headline(title=f"{private + without:,} diverged", text=text)


def _where(item: Configuration, summary: Summary) -> str:
    rate = f", learning rate {plain(item.lr)}" if len(summary.lrs) > 1 else ""
    return f"{setting('σ', item.noise_multiplier)}, {setting('C', item.clip_norm)}{rate}"


def _accuracy(item: Configuration) -> str:
    mean = percent(item.accuracy.mean)
    return mean if item.accuracy.ci95 is None else f"{mean} (95% interval {_interval(item)})"


def _interval(item: Configuration) -> str:
    return interval_points(accuracy_interval(item.accuracy.ci95))


def most_understated(ratios: Sequence[tuple[float, EpsilonRow]]) -> str | None:
    """The largest of the ratios as text, None where there is none."""
    return f"{ratios[-1][0]:.1f}×" if ratios else None
