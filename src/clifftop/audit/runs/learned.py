"""An attack that is learned from other runs: what the likelihood of the claimed mechanism does not look for.

Noise that is drawn once, or again and again, makes the likelihood score worse and not better, so that a
broken training passes for a safe one. Here a logistic regression is trained to tell present from absent by
the shape of a trajectory: its sorted releases, its sorted increments, their spread and their correlation from
step to step. It is trained on half of the runs and judged on the other half, so that whatever it has learned,
the bound is valid.
"""

from __future__ import annotations

import numpy as np

from clifftop.audit.estimators.logistic import fit_logistic
from clifftop.audit.estimators.values import Array
from clifftop.audit.runs.protocol import Flags, Releases

QUANTILES = 48


def features_of(trajectories: Releases) -> Array:
    """``(n, F)`` from ``(n, T)`` releases along one canary each, in any order of canaries."""
    x = trajectories.astype(np.float64)
    steps = x.shape[1]
    if steps < 3:
        return np.sort(x, axis=1)
    increments = np.diff(x, axis=1)
    centred = x - x.mean(axis=1, keepdims=True)
    spread = (centred * centred).mean(axis=1)
    tied = (centred[:, 1:] * centred[:, :-1]).mean(axis=1)
    logs = np.log(spread + 1e-12), np.log((increments * increments).mean(axis=1) + 1e-12)
    return np.column_stack(
        (
            _quantiles(x),
            _quantiles(np.abs(increments)),
            x.mean(axis=1),
            *logs,
            tied / (spread + 1e-12),
        )
    )


def learn(trajectories: Releases, present: Flags, judged: Releases) -> Array:
    """Scores of ``judged`` trajectories ``(m, T)``, higher for what looks present; learned from others.

    Args:
        trajectories: ``(n, T)`` to learn from.
        present: ``(n,)`` whether the canary was present in each.
        judged: ``(m, T)`` to score; nothing of them is used to learn.
    """
    features = features_of(trajectories)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale <= 1e-9 * (1.0 + np.abs(centre))] = np.inf  # says nothing here, so it counts for nothing

    def standard(values: Array) -> Array:
        return np.column_stack((np.ones(len(values)), np.clip((values - centre) / scale, -8.0, 8.0)))

    weights = fit_logistic(standard(features), present)
    return standard(features_of(judged)) @ weights


def _quantiles(values: Array) -> Array:
    """Order statistics, at most `QUANTILES` of them, spread evenly."""
    ordered = np.sort(values, axis=1)
    places = np.unique(np.linspace(0, ordered.shape[1] - 1, QUANTILES).round().astype(int))
    return ordered[:, places]
