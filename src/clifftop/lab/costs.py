"""What a search costs in privacy, four ways: by what is released of it.

Reporting the epsilon of one run of a search as the epsilon of the search is false: which run was kept depends
on the data. `search_cost` says what each way to release costs, for runs that were trained (`single`,
`composition`), for a tuning over the same settings that is still to come (`selection`), and for public data.

How runs that share batches or noise compose is proven in `clifftop.lab.joint`, selection over several
settings in `clifftop.lab.tuning.covering`, on the theorem of `clifftop.accounting.selection_bounds`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from clifftop import accounting
from clifftop.accounting import Bound, RenyiAccountant
from clifftop.accounting.base import require_delta
from clifftop.events import NegativeBinomialTrials, NeighboringRelation
from clifftop.lab.joint import Joint, joint, one_relation, private_runs
from clifftop.lab.spec import RunSpec
from clifftop.lab.tuning.covering import (
    FIRST_WIDTH,
    MOST_COVERS,
    VAST_EPSILON,
    WIDENING,
    Setting,
    costliest,
    cover,
    rounded,
    selection_epsilons,
    setting_of,
)

MOST_DISTINCT = 1000
"""Releases that the contour integral composes, at most; with tiny sigmas among them, a tenth of that."""
SMALL_SIGMA = 0.25
MOST_JOINED = 3000
"""Releases that Renyi divergences compose, at most; more are joined in groups."""
NOTHING = Bound(lower=0.0, estimate=0.0, upper=0.0, method="public data")


@final
@dataclass(frozen=True, kw_only=True)
class SelectionCost:
    """What a tuning by `clifftop tune` over the same settings would cost.

    Attributes:
        law: of the number of trials.
        mean: of that law.
        epsilon: of all that the tuning releases.
    """

    law: str
    mean: float
    epsilon: Bound


@final
@dataclass(frozen=True, kw_only=True)
class SearchCost:
    """The cost of a search, by what is released of it; `sentences` says it to people.

    Attributes:
        delta: of every epsilon here.
        neighboring_relation: of every epsilon here.
        runs: distinct private runs.
        settings: distinct private settings: runs that differ by more than their seeds.
        baselines: distinct runs without privacy; they are in no epsilon here.
        is_public: whether the data were declared public.
        single: the costliest private run alone. It is not the cost of the search.
        composition: all private runs released; infinite where they share noise.
        why: why ``composition`` is infinite; empty where it is not.
        selection: the best of a random number of new trials released, by the law of that number.
    """

    delta: float
    neighboring_relation: NeighboringRelation | None
    runs: int
    settings: int
    baselines: int
    is_public: bool
    single: Bound
    composition: Bound
    why: str
    selection: tuple[SelectionCost, ...]

    @property
    def public(self) -> Bound:
        """What tuning on public or synthetic data costs: nothing."""
        return NOTHING

    def sentences(self) -> Mapping[str, str]:
        """What each number means and what may be released at it, in words, under the fields' names."""
        from clifftop.lab.tuning.wording import cost_sentences

        return cost_sentences(self)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; an infinite number is the string ``"inf"``."""
        relation = self.neighboring_relation
        return {
            "delta": self.delta,
            "neighboring_relation": None if relation is None else relation.value,
            "runs": self.runs,
            "settings": self.settings,
            "baselines_excluded": self.baselines,
            "is_public": self.is_public,
            "single": _bound(self.single) | {"is_cost_of_the_search": False},
            "composition": _bound(self.composition) | {"why": self.why},
            "selection": [
                {"law": cost.law, "mean": cost.mean} | _bound(cost.epsilon) for cost in self.selection
            ],
            "public": _bound(self.public),
            "sentences": dict(self.sentences()),
        }


def search_cost(
    specs: Sequence[RunSpec],
    *,
    num_examples: int,
    delta: float,
    public: bool = False,
    trials: float | None = None,
) -> SearchCost:
    """What the search over ``specs`` costs, by what is released of it.

    Args:
        specs: all runs that were, or will be, trained on the data; equal ones count once.
        num_examples: N, a public number.
        delta: in (0, 1).
        public: whether the data are declared public: then everything costs nothing.
        trials: the mean number of trials of ``selection``; by default as many as there are settings.

    Raises:
        SpecError: the runs are accounted with different neighbouring relations.
        ValueError: a private run without a proven event, or ``delta`` or ``trials`` out of range.
    """
    runs = private_runs(specs)
    baselines = len(set(specs)) - len(runs)
    settings = len({replace(spec, seed=0, noise_seed=None) for spec in runs})
    delta = require_delta(delta)
    relation = one_relation(runs) if runs else None
    if public or relation is None:
        bound = NOTHING if public else _nothing_claimed("no private run")
        why = "" if public else "no run has a finite clip norm and noise, so that nothing can be claimed"
        single, composition, selection = bound, bound, ()
    else:
        described = [setting_of(spec, num_examples=num_examples) for spec in runs]
        single = costliest(described, delta=delta, neighboring_relation=relation)
        found = joint(runs, num_examples=num_examples)
        composition, why = _composition(found, single, delta, relation), found.why
        laws = _laws(float(settings) if trials is None else trials)
        most = 1 if single.upper > VAST_EPSILON else MOST_COVERS
        bounds = selection_epsilons(
            [setting.event for setting in cover(described, most=most)],
            [law for _, law in laws],
            delta=delta,
            neighboring_relation=relation,
        )
        selection = tuple(
            SelectionCost(law=name, mean=law.mean, epsilon=bound)
            for (name, law), bound in zip(laws, bounds, strict=True)
        )
    return SearchCost(
        delta=delta,
        neighboring_relation=relation,
        runs=len(runs),
        settings=settings,
        baselines=baselines,
        is_public=public,
        single=single,
        composition=composition,
        why=why,
        selection=selection,
    )


def _composition(found: Joint, single: Bound, delta: float, relation: NeighboringRelation) -> Bound:
    if found.why:
        return _nothing_claimed("shared noise")
    share = 0.1 if any(sigma < SMALL_SIGMA for _, sigma in found.sampled) else 1.0
    if len(found.sampled) <= share * MOST_DISTINCT:
        bound = accounting.epsilon(found.event, delta=delta, neighboring_relation=relation)
        if found.is_exact:
            return bound
    else:
        joined = replace(found, sampled=_joined(found.sampled, most=share * MOST_JOINED))
        bound = RenyiAccountant(relation).epsilon(joined.event, delta=delta)
    # Whoever sees all runs sees the costliest.
    lower = min(max(single.lower, bound.lower if found.is_exact else 0.0), bound.upper)
    return Bound(lower=lower, estimate=bound.upper, upper=bound.upper, method=bound.method)


def _joined(sampled: Counter[tuple[float, float]], *, most: float) -> Counter[tuple[float, float]]:
    """The same releases, or where there are too many kinds fewer that dominate them."""
    joined, width = sampled, FIRST_WIDTH
    while len(joined) > most:
        joined = Counter()
        for (q, sigma), count in sampled.items():
            near = rounded(Setting(q, sigma, 1), width)
            joined[near.sampling_prob, near.noise_multiplier] += count
        width *= WIDENING
    return joined


def _laws(mean: float) -> tuple[tuple[str, NegativeBinomialTrials], ...]:
    return (
        ("geometric", NegativeBinomialTrials(mean=mean)),
        ("logarithmic", NegativeBinomialTrials(mean=mean, shape=0.0)),
    )


def _nothing_claimed(method: str) -> Bound:
    return Bound(lower=math.inf, estimate=math.inf, upper=math.inf, method=method)


def _bound(bound: Bound) -> dict[str, Any]:
    def plain(value: float) -> float | str:
        return value if math.isfinite(value) else "inf"

    return {"epsilon_lower": plain(bound.lower), "epsilon_upper": plain(bound.upper), "method": bound.method}
