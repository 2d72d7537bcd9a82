r"""What several runs release together, respecting what they share.

Every run is an adaptive sequence of Gaussian releases, one a step, on a batch. Runs compose (Dwork, Rothblum
and Vadhan 2010; for Gaussian releases on Poisson samples, dominating pairs compose step by step: Zhu, Dong
and Wang 2022, "Optimal accounting of differential privacy via characteristic function", theorem 10). What the
runs share decides which releases there are:

**Own seeds.** Samples and noise are independent, so the steps of all runs compose: n steps of one
``PoissonSampled(q, Gaussian(sigma))`` in one run and m in another are n + m of them.

**One sample, own noise.** Runs with one seed draw the same uniform number for each example and step, and take
the example where it falls below their own q. Step t of all runs that still train is one release of their
clipped sums side by side, each divided by its own ``sigma_i C_i``: one example moves it by at most
``s = (sum_i 1 / sigma_i^2)^(1/2)``, so with one q it is ``PoissonSampled(q, Gaussian(1 / s))``. For runs of
different lengths the sum goes over those with more than t steps.

**One sample, different q.** Let q be the largest. Given that the example's number fell below q, run i takes
it with probability ``q_i / q``. Let K replace, with the probabilities of these patterns and independent of
all else, the coordinates of runs that do not take it by fresh ones without the example (given the past and
the samples of the other rows, coordinates are independent). K turns the law in which every run takes the
example whenever its number falls below q into the true one, and leaves the law without the example as it is;
where one example is replaced by another, both sides alike. So the true pair is a post-processing of that of
``PoissonSampled(q, Gaussian(1 / s))``, which dominates it.

**Samples coupled in an unknown way.** Given all runs' samples, which do not depend on the data, every release
is Gaussian, of an example that takes part or does not. Hockey-stick divergences are jointly convex, so no
mixture over samples exceeds its worst member, in which the example takes part in every step: releases
``Gaussian(sigma)`` without sampling. Used where runs of one seed train on different data, in which a row's
number does not say whose it is.

**A fixed order.** Nothing is drawn. An example meets each run ``participations`` times, all of them Gaussian
releases.

**One noise.** Two runs with one noise key add the same normal vector, scaled. After one step from equal
parameters a combination of the two models shows clipped sums with no noise at all, so that nothing can be
claimed: epsilon is infinite, whatever sigma.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

from clifftop import events
from clifftop.events import Composed, DpEvent, NeighboringRelation, NoOp, PoissonSampled, SelfComposed
from clifftop.lab.spec import Factory, RunSpec, SpecError
from clifftop.noise import Gaussian, Secure
from clifftop.sampling import FixedOrder, Poisson

ROUNDING = 1e-11
"""Relative: a sum of ten thousand ``1 / sigma^2`` is ten times better, and its root is taken down by this."""


@final
@dataclass(frozen=True, kw_only=True)
class PoissonRun:
    """``steps`` Gaussian releases on Poisson samples."""

    sampling_prob: float
    noise_multiplier: float
    steps: int


@final
@dataclass(frozen=True, kw_only=True)
class Joint:
    """What all runs release together.

    Attributes:
        sampled: how many ``PoissonSampled(q, Gaussian(sigma))`` there are, by (q, sigma).
        ordered: how many ``Gaussian(sigma)`` one example of a fixed order meets, by sigma.
        unsampled: how many ``Gaussian(sigma)`` there are in which amplification was given up, by sigma.
        others: releases of other kinds.
        is_exact: whether this is what the runs release, and not only something that costs no less.
        why: why nothing can be claimed; empty where something can.
    """

    sampled: Counter[tuple[float, float]]
    ordered: Counter[float]
    unsampled: Counter[float]
    others: tuple[DpEvent, ...] = ()
    is_exact: bool = True
    why: str = ""

    @property
    def event(self) -> DpEvent:
        """The composition, with equal releases counted."""
        parts: list[DpEvent] = [
            SelfComposed(PoissonSampled(q, events.Gaussian(sigma)), count)
            for (q, sigma), count in self.sampled.items()
        ]
        parts += [events.FixedOrder(events.Gaussian(sigma), count) for sigma, count in self.ordered.items()]
        parts += [SelfComposed(events.Gaussian(sigma), count) for sigma, count in self.unsampled.items()]
        return Composed((*parts, *self.others))


def private_runs(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Distinct runs with a finite bound on each example and noise; a run released twice is released once."""
    return [spec for spec in dict.fromkeys(specs) if spec.plan.is_private]


def one_relation(runs: Sequence[RunSpec]) -> NeighboringRelation:
    """The relation that all runs are accounted with.

    Raises:
        SpecError: there are several, or no run.
    """
    relations = {spec.plan.neighboring_relation for spec in runs}
    if len(relations) != 1:
        names = ", ".join(sorted(relation.name for relation in relations)) or "no run"
        raise SpecError(
            f"all runs must be accounted with one neighbouring relation, found {names}; "
            "give fixed-order and Poisson runs of one search the same, such as ZERO_OUT"
        )
    (relation,) = relations
    return relation


def joint(runs: Sequence[RunSpec], *, num_examples: int) -> Joint:
    """What distinct private runs of one relation release together; see the module for each rule.

    Raises:
        ValueError: a run's plan has no proven event.
    """
    found = Joint(sampled=Counter(), ordered=Counter(), unsampled=Counter())
    why = _shared_noise(runs)
    if why:
        return replace(found, why=why)
    samples: defaultdict[tuple[object, int], list[tuple[Factory, PoissonRun]]] = defaultdict(list)
    others: list[DpEvent] = []
    for spec in runs:
        own = spec.plan.clipping.event()
        if own != NoOp():
            others.append(SelfComposed(own, spec.steps))
        match spec.plan.sampler, spec.plan.noise:
            case Poisson(sampling_prob=q), Gaussian(noise_multiplier=sigma):
                run = PoissonRun(sampling_prob=q, noise_multiplier=sigma, steps=spec.steps)
                samples[_streams(spec), spec.seed].append((spec.data, run))
            case FixedOrder() as order, Gaussian(noise_multiplier=sigma):
                found.ordered[sigma] += order.participations(steps=spec.steps, num_examples=num_examples)
            case _:
                # Refused by the plan unless it has a proof; with a seed of its own it composes.
                others.append(spec.plan.event(steps=spec.steps, num_examples=num_examples))
    exact = [_add_sample(found, group) for group in samples.values()]
    return replace(found, others=tuple(others), is_exact=all(exact))


def together(runs: Iterable[PoissonRun]) -> Counter[tuple[float, float]]:
    """Releases of runs that share each step's uniform numbers and have noise of their own, by (q, sigma).

    >>> alike = PoissonRun(sampling_prob=0.1, noise_multiplier=2.0, steps=10)
    >>> shorter = PoissonRun(sampling_prob=0.1, noise_multiplier=2.0, steps=4)
    >>> [(q, round(sigma, 3), n) for (q, sigma), n in together([alike, shorter]).items()]
    [(0.1, 2.0, 6), (0.1, 1.414, 4)]
    """
    longest_first = sorted(runs, key=lambda run: -run.steps)
    found: Counter[tuple[float, float]] = Counter()
    inverses: list[float] = []
    largest = 0.0
    for place, run in enumerate(longest_first):
        inverses.append(run.noise_multiplier**-2)
        largest = max(largest, run.sampling_prob)
        after = longest_first[place + 1].steps if place + 1 < len(longest_first) else 0
        if run.steps > after:
            alone = len(inverses) == 1
            sigma = run.noise_multiplier if alone else _root(inverses)
            found[largest, sigma] += run.steps - after
            inverses = [math.fsum(inverses)]
            if alone:
                inverses.append(0.0)  # so that what follows is a sum
    return found


def _root(inverses: Sequence[float]) -> float:
    return math.fsum(inverses) ** -0.5 * (1.0 - ROUNDING)


def _add_sample(found: Joint, group: Sequence[tuple[Factory, PoissonRun]]) -> bool:
    """Add runs of one seed, each with its data; whether what was added is exact."""
    if len({data for data, _ in group}) > 1:
        for _, run in group:
            found.unsampled[run.noise_multiplier] += run.steps
        return False
    found.sampled.update(together(run for _, run in group))
    return len(group) == 1


def _shared_noise(runs: Sequence[RunSpec]) -> str:
    keys = Counter((_streams(spec), spec.noise_key) for spec in runs)
    sharing = sum(count for count in keys.values() if count > 1)
    if not sharing:
        return ""
    return (
        f"{sharing:,} of {len(runs):,} runs share their noise, up to its scale, with another: the difference "
        "of two such models shows gradients without noise, so there is no finite epsilon; train with "
        'sharing = "order" or "independent", which give each run noise of its own'
    )


def _streams(spec: RunSpec) -> object:
    """What draws a run's numbers; values that draw the same ones are equal."""
    return Secure() if isinstance(spec.streams, Secure) else spec.streams
