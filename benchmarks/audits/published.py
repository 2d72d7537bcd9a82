"""The published study under audit: its epsilons beside certified ones, and beside what is measured.

For each noise multiplier of the study: the epsilon that it published; the certified epsilon of the sampling
that its accountant assumes, and of the order in which its code ran; a lower bound from sampling what it
releases (`published_releases`), assuming nothing but that runs are independent; and the verdict of
`clifftop.audit.accounts.check_accountant` on its formula. Last, a smaller audit of whole trainings: the
study's own model, data, order, clipping and noise (`published_training`). One thread.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_releases import SAMPLERS, Scoring, fixed_order, in_chunks, log10_runs_to_refute, scored

from clifftop import accounting
from clifftop.accounting import Bound
from clifftop.audit.accounts import Setting, check_accountant
from clifftop.audit.estimators import Counts, gaussian_dp, thresholds
from clifftop.audit.estimators.thresholds import HELD_OUT, Rule
from clifftop.audit.estimators.values import LowerBound
from clifftop.events import FixedOrder, Gaussian, NeighboringRelation
from clifftop.studies.no_cliff.presets import DELTA, EPOCHS, NO_CLIFF, SAMPLING_PROB, STEPS
from clifftop.studies.no_cliff.published import epsilon_as_published

RUNS = {"fixed order": 1_000_000, "shuffled": 400_000}
"""On each side, half of them to choose the threshold on."""
CHOSEN_ON, FOUND_IN = 100_000, 200_000
"""With more runs: those with the canary that the threshold is chosen on, and judged by."""
TRAININGS = {1.0: 3000, 2.0: 500}
"""On each side, by noise multiplier."""
MOST_RUNS = 30_000_000
CONFIDENCE = 0.95
"""Of all bounds together (Bonferroni)."""
BOUNDS = 16
EACH = 1 - (1 - CONFIDENCE) / BOUNDS
SEED = 7
ZERO_OUT = NeighboringRelation.ZERO_OUT


def main() -> None:
    """Measure, judge, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs, no long ones; no record")
    parser.add_argument("--no-training", action="store_true", help="leave the whole trainings out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    part, most = (20, 0) if options.quick else (1, MOST_RUNS)
    sigmas = NO_CLIFF.defaults.noise_multipliers or ()
    figures: dict[str, Any] = {
        "delta": DELTA,
        "confidence": CONFIDENCE,
        "bounds": BOUNDS,
        "relation": "zero out",
        "rows": [row(sigma, part=part, most=most) for sigma in sigmas],
        "accountant": accountant(sigmas),
    }
    if not options.no_training:
        from published_training import audited

        figures["training"] = [
            audited(sigma, runs=runs // part, confidence=EACH) for sigma, runs in TRAININGS.items()
        ]
    figures["cpu_seconds"] = round(time.process_time() - started, 1)
    if options.quick:
        print(figures)
    else:
        sys.path.append(str(Path(__file__).parents[1]))
        from common import record

        record("audit_published", figures)


def row(sigma: float, *, part: int, most: int) -> dict[str, Any]:
    """All that is known of one noise multiplier."""
    published = epsilon_as_published(sigma, SAMPLING_PROB, STEPS, DELTA)
    found: dict[str, Any] = {
        "sigma": sigma,
        "published": published,
        "truth": {
            "fixed order": ends(accounting.epsilon(
                FixedOrder(Gaussian(sigma), EPOCHS), delta=DELTA, neighboring_relation=ZERO_OUT
            )),
            "Poisson": ends(accounting.epsilon(
                setting(sigma).event,
                delta=DELTA,
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            )),
        },
    }  # fmt: skip
    for place, (name, scoring) in enumerate(SAMPLERS.items()):
        rng = np.random.default_rng([SEED, place, round(100 * sigma)])
        start = time.process_time()
        more = most if scoring is fixed_order else 0
        measured = sampled(scoring, published, sigma=sigma, runs=RUNS[name] // part, most=more, rng=rng)
        found[name] = measured | {"cpu_seconds": round(time.process_time() - start, 2)}
    return found


def sampled(
    scoring: Scoring,
    published: float,
    *,
    sigma: float,
    runs: int,
    most: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Bounds from runs; more of them, if that can refute what these cannot."""
    scores = scored(scoring, runs, sigma=sigma, rng=rng)
    given: dict[str, Any] = {"delta": DELTA, "confidence": EACH, "rng": rng}
    plain = thresholds.epsilon_held_out(scores.present, scores.absent, **given)
    jointly = thresholds.epsilon_held_out(
        scores.present, scores.absent, **given, judge=thresholds.epsilon_jointly
    )
    family = gaussian_dp.epsilon_held_out(scores.present, scores.absent, **given)
    needed = log10_runs_to_refute(published, tail=0.5 * (1 - EACH))
    total = 2 * runs
    if plain.detection_limit < published and most and needed <= math.log10(most):
        plain = with_more_runs(scoring, sigma=sigma, runs=math.ceil(10**needed), rng=rng)
        total += math.ceil(10**needed) + CHOSEN_ON + FOUND_IN
    return {
        "runs": total,
        "plain": shown(plain),
        "jointly": shown(jointly),
        "gaussian_family": shown(family),
        "refuted": bool(plain.epsilon > published),
        "log10_runs_needed": round(needed, 2),
    }


def with_more_runs(scoring: Scoring, *, sigma: float, runs: int, rng: np.random.Generator) -> LowerBound:
    """Plain limits at a threshold that other runs chose, with so many runs without the canary."""
    chosen_on = next(in_chunks(scoring, CHOSEN_ON, present=True, sigma=sigma, rng=rng))
    rule = Rule(threshold=float(np.quantile(chosen_on, 0.01)))
    counted = {True: [0, 0], False: [0, 0]}
    for present, number in ((True, FOUND_IN), (False, runs)):
        for scores in in_chunks(scoring, number, present=present, sigma=sigma, rng=rng):
            counted[present][0] += int((scores > rule.threshold).sum())
            counted[present][1] += scores.size
    counts = Counts(
        true_positives=counted[True][0],
        present=counted[True][1],
        false_positives=counted[False][0],
        absent=counted[False][1],
    )
    return thresholds.epsilon_from_counts(counts, delta=DELTA, confidence=EACH, assumptions=(HELD_OUT,))


def accountant(sigmas: tuple[float, ...]) -> dict[str, Any]:
    """The paper's formula under the cross-check: at its own settings, and everywhere."""
    start = time.process_time()
    own = check_accountant(epsilon_as_published, settings=[setting(sigma) for sigma in sigmas])
    everywhere = check_accountant(epsilon_as_published)
    return {
        "answers": [
            {
                "sigma": one.asked.noise_multiplier,
                "reported": one.reported,
                "certified": ends(one.certified),
                "refuted": one.reported < one.certified.lower,
            }
            for one in own.answers
        ],
        "everywhere": {
            check.name: {"passed": check.passed, "found": check.found} for check in everywhere.checks
        },
        "cpu_seconds": round(time.process_time() - start, 2),
    }


def setting(sigma: float) -> Setting:
    """What the study's accountant was asked."""
    return Setting(sampling_prob=SAMPLING_PROB, noise_multiplier=sigma, steps=STEPS, delta=DELTA)


def ends(bound: Bound) -> list[float]:
    """A certified interval."""
    return [bound.lower, bound.upper]


def shown(bound: LowerBound) -> dict[str, Any]:
    """A bound, or None where nothing was shown, and the most that could have been."""
    return {
        "epsilon": round(bound.epsilon, 4) if bound.detected else None,
        "at_most": round(bound.detection_limit, 4),
    }


if __name__ == "__main__":
    main()
