"""How often a report claims what is not so, and how often it misses what is.

1,000 simulated stores in which nothing has an effect: every cell and every arm has the same mean. Runs of a
seed share their luck or not; there are 3 to 20 seeds, and 100 or 1,000 test rows, drawn for each run, each
seed or once. A report is wrong if any of its claims says that something costs, buys, or falls. Beside it
stores with planted effects of several sizes say how often each is claimed. What is simulated is scores, not
trainings; the analysis and the sentences are those of every report.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from common import record

from clifftop.analysis.cliffs import cliffs_by_rule
from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.frontier import find_frontier
from clifftop.analysis.inference import binomial_interval
from clifftop.report.conclusions import Kind, conclude
from clifftop.testing.frontiers import Parts, TestRows, crossed, level, simulated_evidence, step

STORES = 1000
PLANTED_STORES = 100
SEEDS, NUM_TEST = (3, 5, 10, 20), (100, 1000)
EPSILONS = (0.5, 2.0, 8.0, 32.0)
DENSE = tuple(2.0**power for power in range(-3, 6))
CELLS = crossed({"lr": (0.1, 1.0), "clip_norm": (0.1, 1.0)})
ARMS = (Arm.BOTH, Arm.NEITHER, Arm.CLIPPING, Arm.NOISE)
TRUE_WITHOUT_EFFECT = ("No cliff",)
DRAWS = 200


def claimed(evidence: Evidence, *, reference_lr: float | None = None) -> list[str]:
    """The titles of what a report claims."""
    found = conclude(
        evidence,
        frontier=find_frontier(evidence, draws=DRAWS),
        decomposition=decompose(evidence),
        cliffs=cliffs_by_rule(evidence),
        reference_lr=reference_lr,
    )
    return [one.title for one in found if one.kind is Kind.CLAIM]


def nothing(number: int) -> Evidence:
    """A store without any effect; every number is another mixture of seeds, rows and pairing."""
    return simulated_evidence(
        rng=np.random.default_rng(number),
        frontier=level(0.8),
        cells=CELLS,
        epsilons=EPSILONS,
        arms=ARMS,
        seeds=SEEDS[number % 4],
        num_test=NUM_TEST[number // 4 % 2],
        test_rows=list(TestRows)[number // 8 % 3],
        paired=number // 24 % 2 == 0,
    )


def false_claims(stores: int) -> dict[str, Any]:
    """The share of stores without effect whose report claims one."""
    wrong: Counter[str] = Counter()
    reports = 0
    for number in range(stores):
        titles = [title for title in claimed(nothing(number)) if not title.startswith(TRUE_WITHOUT_EFFECT)]
        wrong.update(titles)
        reports += bool(titles)
    low, high = binomial_interval(reports / stores, num_test=stores)
    return {
        "stores": stores,
        "reports_with_a_false_claim": reports,
        "share": reports / stores,
        "interval": [round(low, 4), round(high, 4)],
        "what": dict(wrong.most_common()),
    }


def _learning_rate(size: float) -> Callable[[Any, float], Parts]:
    """Clipping at C = 0.1 costs ``size`` at learning rate 0.1, and nothing at 1."""

    def parts(setting: Any, _: float) -> Parts:
        slow = setting["lr"] == 0.1 and setting["clip_norm"] == 0.1
        return Parts(original=0.9, clipping=size if slow else 0.0)

    return parts


def power(stores: int) -> dict[str, Any]:
    """How often a planted effect is claimed, by its size and the number of seeds."""
    found: dict[str, Any] = {}
    for seeds in SEEDS:
        for size in (0.02, 0.05, 0.2):
            found[f"learning rate explains {size:g}, {seeds} seeds"] = _share(
                stores,
                ("What looks like the cost of clipping", "The learning rate explains"),
                lambda rng, seeds=seeds, size=size: simulated_evidence(
                    rng=rng,
                    parts=_learning_rate(size),
                    cells=CELLS,
                    epsilons=EPSILONS,
                    arms=ARMS,
                    seeds=seeds,
                ),
            )
            found[f"noise costs {size:g}, {seeds} seeds"] = _share(
                stores,
                "At the strictest level the noise",
                lambda rng, seeds=seeds, size=size: simulated_evidence(
                    rng=rng,
                    parts=lambda _, __: Parts(original=0.9, noise=size),
                    cells=CELLS,
                    epsilons=EPSILONS,
                    arms=ARMS,
                    seeds=seeds,
                ),
            )
        found[f"cliff, {seeds} seeds"] = _share(
            stores,
            "A cliff",
            lambda rng, seeds=seeds: simulated_evidence(
                rng=rng, frontier=step(), epsilons=DENSE, seeds=seeds
            ),
        )
    return found


def _share(
    stores: int, title: str | tuple[str, ...], make: Callable[[np.random.Generator], Evidence]
) -> float:
    hits = 0
    for number in range(stores):
        titles = claimed(make(np.random.default_rng(number)), reference_lr=0.1)
        hits += any(one.startswith(title) for one in titles)
    return hits / stores


def main() -> None:
    """Simulate, conclude, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", type=int, default=STORES)
    parser.add_argument("--planted", type=int, default=PLANTED_STORES)
    options = parser.parse_args()
    started = time.process_time()
    figures = {"without_effect": false_claims(options.stores), "planted": power(options.planted)}
    record("false_claims", figures | {"cpu_seconds": round(time.process_time() - started, 1)})


if __name__ == "__main__":
    main()
