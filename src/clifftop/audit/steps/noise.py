"""A step's noise against its claim: scale, mean, independence, repeats, shape, lattice.

Each number of the noise, over its claimed standard deviation, must be an independent standard normal.
Every test here is exact under that hypothesis (chi-square, F, t and binomial laws of normal samples) or
conservative, so the false-alarm rate is what the level says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clifftop.audit.steps.draws import NoiseDraws
from clifftop.audit.steps.findings import Family, StepCheck, Witness, family, judged

CHECKS = 5
"""How many statistical checks `check_noise` makes, each at its own level."""

_MOST_PAIRS_OF_BLOCKS = 2000
_LEAST_FOR_SHAPE = 200
_FINEST = 2.0**-20
_MOST_FOR_TIES = 1 << 17


def check_noise(draws: NoiseDraws, *, level: float) -> tuple[StepCheck, ...]:
    """All checks of noise; each statistical one fails with probability at most ``level`` by chance."""
    # Noise that is not a number passes nothing: `family` takes its p-values as 0.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return (
            _present(draws),
            _fresh(draws),
            _scale(draws, level=level),
            _mean(draws, level=level),
            _independence(draws, level=level),
            _shape(draws, level=level),
            _lattice(draws, level=level),
        )


def _present(draws: NoiseDraws) -> StepCheck:
    """Exact: a normal number is never zero in every step."""
    missing = [(name, count) for name, count in draws.never if count]
    found = ", ".join(f"{count} of {name} without" for name, count in missing[:3]) or "all have"
    return StepCheck(
        name="noise-present",
        must_hold="every number of every parameter must get noise",
        found=found,
        passed=not missing,
    )


def _fresh(draws: NoiseDraws) -> StepCheck:
    """Exact: three numbers come twice (to 1e-5, up to sign) by chance in less than one of 1e6 audits."""
    seen: dict[tuple[float, ...], tuple[str, int]] = {}
    for k, row in enumerate(draws.values):
        for name, where in draws.blocks:
            first = row[where][:3]
            if first.size < 3 or not first.any():
                continue
            key = tuple(np.round(first * np.sign(first[0]), 5).tolist())
            if key in seen:
                other, step = seen[key]
                found = f"{name} in step {k} has the numbers of {other} in step {step}"
                return _fresh_check(found, passed=False)
            seen[key] = (name, k)
    return _fresh_check(f"no repeats among {len(seen)} draws", passed=True)


def _fresh_check(found: str, *, passed: bool) -> StepCheck:
    must = "noise must be drawn anew for every parameter in every step"
    return StepCheck(name="noise-fresh", must_hold=must, found=found, passed=passed)


def _scale(draws: NoiseDraws, *, level: float) -> StepCheck:
    """Mean squares of all, per parameter and batch kind, and per number: chi-square, two-sided."""
    squares = draws.values**2
    kinds = [("a batch", squares[: draws.half]), ("an empty batch", squares[draws.half :])]
    places = [(kind, rows, block) for kind, rows in kinds if len(rows) for block in draws.blocks]
    totals = np.array([rows[:, where].sum() for _, rows, (_, where) in places])
    freedom = np.array([rows[:, where].size for _, rows, (_, where) in places])
    ratios = np.sqrt(totals / freedom)

    def of_block(i: int) -> str:
        kind, _, (name, _) = places[i]
        return f"{name} on {kind} has {ratios[i]:.4g} of the claimed standard deviation"

    each, whole = squares.sum(0), np.sqrt(squares.mean())
    blocks = family(_chi_square(totals, freedom), of_block)
    numbers = family(
        _chi_square(each, np.array(len(squares))),
        lambda i: f"number {i} has {np.sqrt(each[i] / len(squares)):.4g} of the claimed standard deviation",
    )
    together = family(
        _chi_square(np.array([squares.sum()]), np.array([squares.size])),
        lambda _: f"all together have {whole:.4g} of the claimed standard deviation",
    )
    must = "noise must have the claimed standard deviation in every parameter"
    check = judged("noise-scale", must, (together, blocks, numbers), level=level)
    furthest = int(np.abs(np.log(np.maximum(ratios, 1e-300))).argmax())
    return _with(check, "standard deviation over the claimed one", float(ratios[furthest]), 1.0)


def _mean(draws: NoiseDraws, *, level: float) -> StepCheck:
    """The mean of a parameter's noise over all steps is zero: Student's t."""
    samples = [(name, draws.values[:, where].ravel()) for name, where in draws.blocks]
    means = np.array([sample.mean() for _, sample in samples])
    errors = np.array([sample.std(ddof=1) / np.sqrt(sample.size) for _, sample in samples])
    freedom = np.array([sample.size - 1 for _, sample in samples])
    # A parameter without any noise is another check's.
    t = np.where((errors == 0) & (means == 0), 0.0, np.abs(means) / errors)
    p = 2 * stats.t.sf(t, freedom)
    names = [name for name, _ in samples]
    blocks = family(p, lambda i: f"{names[i]} has mean {means[i]:.4g} of the claimed standard deviation")
    return judged("noise-mean", "noise must have mean zero", (blocks,), level=level)


def _independence(draws: NoiseDraws, *, level: float) -> StepCheck:
    """Between steps, between parameters, and within a parameter over numbers and over steps."""
    must = "noise must be independent between steps, between parameters and within a parameter"
    families = (_between_steps(draws), _between_blocks(draws), *_within_blocks(draws))
    return judged("noise-independent", must, families, level=level)


def _between_steps(draws: NoiseDraws) -> Family:
    """Correlations of every two steps over all numbers; exact for normal samples (Fisher 1915)."""
    values = draws.values
    if values.shape[1] < 8:
        return family([], str)
    pairs = list(combinations(range(len(values)), 2))
    every = np.nan_to_num(np.corrcoef(values))
    found = np.array([every[i, j] for i, j in pairs])
    p = _of_correlation(found, values.shape[1])
    return family(p, lambda i: f"steps {pairs[i][0]} and {pairs[i][1]} correlate by {found[i]:.3g}")


def _between_blocks(draws: NoiseDraws) -> Family:
    """Correlations of every two parameters over the numbers at equal places, all steps together."""
    pairs = list(combinations(draws.blocks, 2))[:_MOST_PAIRS_OF_BLOCKS]
    found: list[float] = []
    sizes: list[int] = []
    for (_, one), (_, other) in pairs:
        size = min(one.stop - one.start, other.stop - other.start)
        a = draws.values[:, one.start : one.start + size].ravel()
        b = draws.values[:, other.start : other.start + size].ravel()
        found.append(float(np.nan_to_num(np.corrcoef(a, b)[0, 1])))
        sizes.append(a.size)
    p = _of_correlation(np.array(found), np.array(sizes))
    return family(p, lambda i: f"{pairs[i][0][0]} and {pairs[i][1][0]} correlate by {found[i]:.3g}")


def _within_blocks(draws: NoiseDraws) -> Iterator[Family]:
    """Variance of steps' means, and of numbers' means, against the rest: F tests, two-sided.

    Numbers that move together make steps' means vary too much; a part that stays from step to step
    makes the numbers' means vary too much.
    """
    wide = [(name, draws.values[:, where]) for name, where in draws.blocks if where.stop - where.start > 1]
    wide = [(name, sample) for name, sample in wide if sample.any()]
    for axis, what in ((1, "move together"), (0, "keep a part from step to step")):
        p = np.array([_one_way(np.moveaxis(sample, axis, 1)) for _, sample in wide])
        yield family(p, lambda i, what=what: f"the numbers of {wide[i][0]} {what} (or cancel)")


def _one_way(groups: NDArray[np.float64]) -> float:
    """The two-sided p-value of the F test that the rows have one mean."""
    count, size = groups.shape
    means = groups.mean(1)
    between = size * means.var(ddof=1)
    within = ((groups - means[:, None]) ** 2).sum() / (count * (size - 1))
    ratio = between / within if within > 0 else np.inf
    freedom = (count - 1, count * (size - 1))
    return float(_two_sided(stats.f.cdf(ratio, *freedom), stats.f.sf(ratio, *freedom)))


def _shape(draws: NoiseDraws, *, level: float) -> StepCheck:
    """Kolmogorov's distance from the normal law, and the largest number (truncated or heavy tails).

    Each parameter is put on its own scale, so that a wrong scale is not called a wrong shape; the
    distance is then smaller than for a known scale, and its p-value conservative (Lilliefors 1967).
    """
    parts = [draws.values[:, where].ravel() for _, where in draws.blocks]
    large = [
        part / np.sqrt((part**2).mean()) for part in parts if part.any() and part.size >= _LEAST_FOR_SHAPE
    ]
    must = "noise must be Gaussian"
    if not large:
        return judged("noise-shape", must, (family([], str),), level=level)
    values = np.concatenate(large)
    if not np.isfinite(values).all():
        return judged("noise-shape", must, (family([np.nan], lambda _: "not finite"),), level=level)
    distance = stats.kstest(values, "norm")
    top = float(np.abs(values).max())
    # P(all n are within +-top), in logarithms; its complement is for tails that are too heavy.
    log_within = values.size * float(np.log1p(-2 * stats.norm.sf(top)))
    tails = _two_sided(np.exp(log_within), -np.expm1(log_within))
    count = values.size
    families = (
        family([float(distance.pvalue)], lambda _: f"distance {distance.statistic:.3g} of {count} numbers"),
        family([float(tails)], lambda _: f"the largest of {count} numbers is {top:.3g} standard deviations"),
    )
    return judged("noise-shape", must, families, level=level)


def _lattice(draws: NoiseDraws, *, level: float) -> StepCheck:
    """Equal numbers among those of empty batches: more than a grid of 2^-20 standard deviations makes."""
    values = np.abs(draws.raw_empty).ravel()
    values = values[values != 0][:_MOST_FOR_TIES]
    ties = values.size - np.unique(values).size
    # Two normals on a grid of h standard deviations are equal with probability h / (2 sqrt(pi)), twice
    # that up to sign; ties are at most pairs that are equal.
    expected = values.size**2 / 2 * _FINEST / np.sqrt(np.pi)
    p = stats.poisson.sf(ties - 1, expected) if values.size else 1.0
    must = "noise must not lie on a coarse grid, nor numbers be used twice"
    ties_found = family([float(p)], lambda _: f"{ties} of {values.size} numbers equal others (up to sign)")
    return judged("noise-lattice", must, (ties_found,), level=level)


def _chi_square(total: NDArray[np.float64], freedom: NDArray[np.int64]) -> NDArray[np.float64]:
    return _two_sided(stats.chi2.cdf(total, freedom), stats.chi2.sf(total, freedom))


def _of_correlation(found: NDArray[np.float64], size: NDArray[np.int64] | int) -> NDArray[np.float64]:
    freedom = np.asarray(size) - 2
    t = np.abs(found) * np.sqrt(freedom / np.maximum(0.0, 1 - found**2))
    return np.where(freedom > 0, 2 * stats.t.sf(t, np.maximum(1, freedom)), 1.0)


def _two_sided(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(1.0, 2 * np.minimum(lower, upper))


def _with(check: StepCheck, what: str, value: float, limit: float) -> StepCheck:
    return replace(check, witness=Witness(what=what, value=value, limit=limit))
