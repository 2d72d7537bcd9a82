"""A sampler against the claim of Poisson sampling: each example in each batch, independently, at one rate.

Every count here is binomial under the claim, and judged by the exact binomial law.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clifftop.audit.steps.adapter import Sampling, SamplingClaim
from clifftop.audit.steps.findings import Family, StepCheck, Witness, family, judged

CHECKS = 4
"""How many statistical checks `check_sampler` makes, each at its own level."""

_MOST_TRACKED = 256
_CELLS = 12
_OTHER_SEED_STEPS = 64


@final
@dataclass(frozen=True, kw_only=True)
class BatchDraws:
    """The batches of T steps of one run, and the first ones of another.

    Attributes:
        claim: what is claimed of them.
        joined: ``(T, m)`` whether each of the examples that are followed, at most 256, was in the batch.
        sizes: ``(T,)`` the batches' sizes.
        other: ``(t, m)`` the same steps of a run with another seed.
        fault: what was wrong with a batch, whatever the law: an example that came twice, or none there is.
    """

    claim: SamplingClaim
    joined: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    other: NDArray[np.bool_]
    fault: str


def draw_batches(
    sampler: Sampling, claim: SamplingClaim, *, seed: int, steps: int = 2000, budget_seconds: float = 2.0
) -> BatchDraws:
    """The batches of up to ``steps`` steps; fewer, at least 200, when ``budget_seconds`` are over."""
    rng = np.random.default_rng(seed)
    count = claim.num_examples
    tracked = np.sort(rng.choice(count, size=min(count, _MOST_TRACKED), replace=False))
    until = time.perf_counter() + budget_seconds
    rows: list[NDArray[np.bool_]] = []
    sizes: list[int] = []
    fault = ""
    for step in range(steps):
        row, size, wrong = _one(sampler, claim, tracked, step, seed)
        rows.append(row)
        sizes.append(size)
        fault = fault or wrong
        if step >= 199 and time.perf_counter() > until:
            break
    other = [_one(sampler, claim, tracked, step, seed + 1)[0] for step in range(_OTHER_SEED_STEPS)]
    return BatchDraws(
        claim=claim, joined=np.array(rows), sizes=np.array(sizes), other=np.array(other), fault=fault
    )


def check_sampler(draws: BatchDraws, *, level: float) -> tuple[StepCheck, ...]:
    """All checks of a sampler; each statistical one fails with probability at most ``level`` by chance."""
    return (
        _well_formed(draws),
        _rates(draws, level=level),
        _pairs(draws, level=level),
        _sizes(draws, level=level),
        _over_time(draws, level=level),
    )


def _one(
    sampler: Sampling, claim: SamplingClaim, tracked: NDArray[np.int64], step: int, seed: int
) -> tuple[NDArray[np.bool_], int, str]:
    batch = np.asarray(sampler.sample(step, seed), dtype=np.int64).ravel()
    distinct = np.unique(batch)
    fault = ""
    if distinct.size < batch.size:
        fault = f"step {step} has {batch.size - distinct.size} examples twice"
    elif distinct.size and not 0 <= distinct[0] <= distinct[-1] < claim.num_examples:
        fault = f"step {step} names an example that is not among the {claim.num_examples}"
    here = np.zeros(claim.num_examples, dtype=bool)
    here[distinct[(distinct >= 0) & (distinct < claim.num_examples)]] = True
    return here[tracked], batch.size, fault


def _well_formed(draws: BatchDraws) -> StepCheck:
    return StepCheck(
        name="sampler-distinct",
        must_hold="a batch must hold each example at most once, and only examples that exist",
        found=draws.fault or f"so in {len(draws.sizes)} steps",
        passed=not draws.fault,
    )


def _rates(draws: BatchDraws, *, level: float) -> StepCheck:
    """Each example's inclusions in T steps, and all examples' together."""
    steps, q = len(draws.joined), draws.claim.sampling_prob
    counts = draws.joined.sum(0)
    total, numbers = int(draws.sizes.sum()), steps * draws.claim.num_examples
    each = family(
        _binomial(counts, steps, q), lambda i: f"one example joins at a rate of {counts[i] / steps:.4g}"
    )
    whole = family(
        _binomial(np.array([total]), numbers, q),
        lambda _: f"examples join at a rate of {total / numbers:.4g}",
    )
    must = f"every example must join a batch with probability {q:.4g}"
    check = judged("sampler-rate", must, (each, whole), level=level)
    return _with(check, "rate of inclusion", total / numbers, q)


def _pairs(draws: BatchDraws, *, level: float) -> StepCheck:
    """How often every two examples joined the same batch."""
    steps, q = len(draws.joined), draws.claim.sampling_prob
    inside = draws.joined.astype(np.float32)
    one, other = np.triu_indices(inside.shape[1], k=1)
    together = np.rint((inside.T @ inside)[one, other]).astype(np.int64)
    found = family(
        _binomial(together, steps, q * q),
        lambda i: f"two examples join together at a rate of {together[i] / steps:.4g}, not {q * q:.4g}",
    )
    must = "whether one example joins must not depend on another"
    return judged("sampler-pairs", must, (found,), level=level)


def _sizes(draws: BatchDraws, *, level: float) -> StepCheck:
    """How many batches had each size, empty ones for themselves, against Binomial(n, q)."""
    n, q = draws.claim.num_examples, draws.claim.sampling_prob
    found = _cells(draws.sizes, n, q, "batches have {} to {} examples")
    must = "batch sizes must follow the binomial law, empty batches included"
    check = judged("sampler-size", must, (found,), level=level)
    return _with(check, "variance of the batch size", float(draws.sizes.var()), n * q * (1 - q))


def _over_time(draws: BatchDraws, *, level: float) -> StepCheck:
    """Joining two steps that are some lag apart, an epoch's participations, and runs of two seeds."""
    q, joined = draws.claim.sampling_prob, draws.joined
    epoch = max(2, round(1 / q))
    whole = len(joined) // epoch * epoch
    windows = joined[:whole].reshape(-1, epoch, joined.shape[1]).sum(1).ravel()
    counts = _cells(windows, epoch, q, f"examples join {{}} to {{}} batches of {epoch}")
    overlap = int((joined[: len(draws.other)] & draws.other[: len(joined)]).sum())
    tried = min(len(joined), len(draws.other)) * joined.shape[1]
    seeds = family(
        _binomial(np.array([overlap]), tried, q * q),
        lambda _: f"runs of two seeds share examples at a rate of {overlap / tried:.4g}, not {q * q:.4g}",
    )
    must = "batches must be independent from step to step and from run to run"
    return judged("sampler-time", must, (_lags(joined, q, epoch), counts, seeds), level=level)


def _lags(joined: NDArray[np.bool_], q: float, epoch: int) -> Family:
    lags = sorted({1, 2, 4, 8, epoch})
    both: list[int] = []
    tried: list[int] = []
    for lag in lags:
        # Disjoint pairs of steps, so that their products are independent.
        whole = len(joined) // (2 * lag) * 2 * lag
        halves = joined[:whole].reshape(-1, 2, lag, joined.shape[1])
        both.append(int((halves[:, 0] & halves[:, 1]).sum()))
        tried.append(whole // 2 * joined.shape[1])

    def describe(i: int) -> str:
        rate = both[i] / max(1, tried[i])
        return f"examples join again {lags[i]} steps later at a rate of {rate:.4g}, not {q * q:.4g}"

    return family(_binomial(np.array(both), np.array(tried), q * q), describe)


def _cells(values: NDArray[np.int64], n: int, q: float, what: str) -> Family:
    """How many values fall into each cell of Binomial(n, q): each a binomial count."""
    lows, highs = _edges(n, q)
    counts = ((values[:, None] >= lows) & (values[:, None] <= highs)).sum(0)
    mass = np.clip(stats.binom.cdf(highs, n, q) - stats.binom.cdf(lows - 1, n, q), 0.0, 1.0)

    def describe(i: int) -> str:
        expected = mass[i] * len(values)
        return f"{counts[i]} of {len(values)} {what.format(lows[i], highs[i])}, not {expected:.1f}"

    return family(_binomial(counts, len(values), mass), describe)


def _edges(n: int, q: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells of about equal mass that cover 0 to n; 0 is a cell of its own."""
    cuts = stats.binom.ppf(np.arange(1, _CELLS) / _CELLS, n, q).astype(np.int64)
    highs = np.unique(np.concatenate([cuts, [0, n]]))
    return np.concatenate([[0], highs[:-1] + 1]), highs


def _binomial(
    counts: NDArray[np.int64], tried: NDArray[np.int64] | int, prob: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Two-sided p-values: twice the smaller tail, at most 1; valid, since each tail is."""
    lower = stats.binom.cdf(counts, tried, prob)
    upper = stats.binom.sf(counts - 1, tried, prob)
    return np.minimum(1.0, 2 * np.minimum(lower, upper))


def _with(check: StepCheck, what: str, value: float, limit: float) -> StepCheck:
    return replace(check, witness=Witness(what=what, value=value, limit=limit))
