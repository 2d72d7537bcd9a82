"""Planted parts lie in their intervals, and parts that are not there are not found.

Each test looks at independent groups of cells, and fails a correct program with probability at most 1e-6:
the number of intervals that miss is binomial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy.stats import binom

from clifftop.analysis.decomposition import COST_BELOW, CellLoss, clipping_answers, decompose
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.evidence.cells import Scalar
from clifftop.analysis.inference import stated
from clifftop.testing.frontiers import Parts, crossed, simulated_evidence

GROUPS, FALSE_ALARM = 250, 1e-6
PLANTED = Parts(original=0.9, architecture=0.03, clipping=0.10, noise=0.05, interaction=-0.02)
PART_VALUES = {
    "total": 0.16,
    "architecture": 0.03,
    "clipping": 0.10,
    "noise": 0.05,
    "interaction": -0.02,
    "noise_given_clipping": 0.03,
    "clipping_given_noise": 0.08,
    "shapley_clipping": 0.09,
    "shapley_noise": 0.04,
}
FINDABLE = tuple(name for name in PART_VALUES if name != "total")
Planted = Callable[[Mapping[str, Scalar], float], Parts]


def groups(
    parts: Planted,
    *,
    lrs: tuple[float, ...] = (0.1,),
    seeds: int = 8,
    num_test: int | None = None,
    own_sd: float = 0.01,
) -> Evidence:
    """`GROUPS` optimisers with a cell a learning rate each; no two share a run."""
    return simulated_evidence(
        rng=np.random.default_rng(11),
        parts=parts,
        epsilons=(1.0,),
        cells=crossed({"optimizer": [f"o{i}" for i in range(GROUPS)], "lr": lrs}),
        arms=tuple(Arm),
        seeds=seeds,
        own_sd=own_sd,
        num_test=num_test,
    )


def covered(losses: tuple[CellLoss, ...], part: str, truth: float) -> int:
    found = [getattr(loss, part).ci95 for loss in losses]
    return sum(low <= truth <= high for low, high in found)


def fewest(coverage: float) -> int:
    return int(binom.ppf(FALSE_ALARM, GROUPS, coverage))


@pytest.mark.parametrize("num_test", [None, 1000], ids=["scores", "shares-of-rows"])
def test_planted_parts_are_recovered(num_test: int | None) -> None:
    fixed = decompose(groups(lambda _, __: PLANTED, num_test=num_test)).fixed
    assert len(fixed) == GROUPS
    for part, truth in PART_VALUES.items():
        assert covered(fixed, part, truth) >= fewest(0.95)
        assert covered(fixed, part, truth + 0.05) < fewest(0.95)  # the control: another value is told apart


@pytest.mark.parametrize("lrs", [(0.1,), (0.1, 0.3, 1.0, 3.0)], ids=["fixed", "tuned"])
def test_without_any_effect_at_most_one_in_twenty_is_claimed(lrs: tuple[float, ...]) -> None:
    """Tuned: four learning rates that are equally good, which is where choosing flatters most."""
    split = decompose(groups(lambda _, __: Parts(original=0.8), lrs=lrs))
    losses = split.fixed if len(lrs) == 1 else split.tuned
    assert len(losses) == GROUPS
    for part in PART_VALUES:
        assert covered(losses, part, 0.0) >= fewest(0.95)
    apart = [found.ci95 for loss in losses if (found := loss.difference("noise", "clipping")) is not None]
    assert sum(low <= 0 <= high for low, high in filter(None, apart)) >= fewest(0.95)


@pytest.mark.parametrize("gap", [0.003, 0.05], ids=["close", "apart"])
def test_planted_parts_are_recovered_at_the_best_learning_rates(gap: float) -> None:
    """Clipping alone costs 0.1 at lr 0.1, and nothing more than at the best where lr grows to 1."""

    def parts(setting: Mapping[str, Scalar], _: float) -> Parts:
        small = setting["lr"] == 0.1
        return Parts(original=0.9 if small else 0.9 - gap, clipping=0.1 if small else 0.02 - gap, noise=0.03)

    split = decompose(groups(parts, lrs=(0.1, 1.0)))
    # Plain runs are best at 0.1 (0.9), clipped ones at 1 (0.88), noised ones at 0.1 (0.87).
    for part, truth in (("clipping", 0.02), ("noise", 0.03), ("total", 0.05), ("interaction", 0.0)):
        assert covered(split.tuned, part, truth) >= fewest(0.94 if gap > 0.01 else 0.92)
    at_small = tuple(loss for loss in split.fixed if loss.setting["lr"] == 0.1)
    assert covered(at_small, "clipping", 0.02) < fewest(0.95)


def answered(clipping: float) -> int:
    """How many of `GROUPS` sweeps state that clipping costs less than 0.01 at the best learning rate."""

    def parts(setting: Mapping[str, Scalar], _: float) -> Parts:
        return Parts(original=0.9, clipping=0.15 if setting["lr"] == 0.1 else clipping)

    found = groups(parts, lrs=(0.1, 1.0), own_sd=0.003)
    below = [stated(answer.claims) for answer in clipping_answers(found, below=0.01)]
    return sum(COST_BELOW in {claim.kind for claim in claims} for claims in below)


def test_a_small_cost_at_the_best_learning_rate_is_claimed_where_it_is_so_and_only_there() -> None:
    assert answered(0.001) > GROUPS / 2
    assert answered(0.01) <= GROUPS - fewest(0.95)
