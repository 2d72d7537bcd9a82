"""A comparison in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clifftop.analysis.comparison.values import Match, Verdict

_WORTH_SAYING = 3


def sentence(matches: Sequence[Match], first: str, second: str, *, metric: str, maximize: bool) -> str:
    """Who is better where, by how much and how surely; or that it cannot be told."""
    better = {side: [m for m in matches if m.verdict is side] for side in Verdict}
    names = {Verdict.FIRST: (first, second), Verdict.SECOND: (second, first)}
    parts: list[str] = []
    for side, (winner, loser) in names.items():
        if better[side]:
            parts.append(_won(better[side], len(matches), winner, loser, metric, maximize=maximize))
    open_ones = better[Verdict.OPEN]
    if open_ones and parts:
        parts.append(f"at {_epsilons(open_ones)} they cannot be told apart")
    elif open_ones:
        parts.append(_untold(open_ones, first, second, metric, maximize=maximize))
    return "; ".join(parts)


def _won(won: Sequence[Match], of: int, winner: str, loser: str, metric: str, *, maximize: bool) -> str:
    """The clause of the winner; the sign of what is shown is the winner's lead."""
    shown = max(won, key=lambda match: abs(match.difference.mean))
    sign = 1.0 if shown.verdict is Verdict.FIRST else -1.0
    direction = "higher" if maximize else "lower"
    lead = _amount(shown, metric, sign)
    where = "at the one matched epsilon" if of == 1 else f"at {len(won)} of {of} matched epsilons"
    at = f"at epsilon {_plain(shown.epsilon)} its {metric} is {direction} by {lead}"
    return f"{winner} is better than {loser} {where}: {at}"


def _untold(matches: Sequence[Match], first: str, second: str, metric: str, *, maximize: bool) -> str:
    shown = max(matches, key=lambda match: abs(match.difference.mean))
    told = f"{first} and {second} cannot be told apart at {_epsilons(matches)}"
    if shown.difference.ci95 is None and shown.difference.n < 2:
        return f"{told}: one seed a setting shows nothing of how seeds differ; run several"
    sign = 1.0 if maximize else -1.0
    largest = "the" if len(matches) == 1 else "the largest"
    told += f": {largest} difference in {metric} is {_amount(shown, metric, sign)}"
    told += "" if len(matches) == 1 else f" at epsilon {_plain(shown.epsilon)}"
    if shown.seeds_needed is None:
        return told
    return f"{told}; if that is the true one, about {shown.seeds_needed:,} seeds a setting would show it"


def _amount(match: Match, metric: str, sign: float) -> str:
    found, write = match.difference, _writer(metric)
    text = write(sign * found.mean)
    if found.ci95 is not None:
        low, high = sorted(sign * end for end in found.ci95)
        text += (
            f" (95% interval {write(low).removesuffix(' points')} to {write(high).removesuffix(' points')}, "
        )
    else:
        text += " ("
    return f"{text}p = {_p(match.p_adjusted)}, {found.n} seeds{', paired' if match.paired else ''})"


def _writer(metric: str) -> Callable[[float], str]:
    """Shares in points, everything else with three digits."""
    if "accuracy" in metric:
        return lambda value: f"{_no_minus_zero(100 * value, 1)} points"
    return lambda value: f"{value:.3g}"


def _no_minus_zero(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _epsilons(matches: Sequence[Match]) -> str:
    values = [_plain(match.epsilon) for match in matches]
    if len(values) == 1:
        return f"epsilon {values[0]}"
    if len(values) > _WORTH_SAYING:
        return f"{len(values)} epsilons"
    return f"epsilon {', '.join(values[:-1])} and {values[-1]}"


def _plain(value: float) -> str:
    return f"{value:.4g}"
