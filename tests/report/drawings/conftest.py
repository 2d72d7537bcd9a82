"""Materials to draw: small ones with everything, large ones with a few seeds."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from clifftop.analysis.cliffs import cliffs_by_rule
from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm
from clifftop.analysis.frontier import find_frontier
from clifftop.lab.reading.curves import Curves, Trace
from clifftop.report.drawings import drawings
from clifftop.testing.frontiers import Parts, crossed, simulated_evidence

TRACED = ("fraction_clipped", "clipping_bias", "bias_cosine", "noise_to_signal")


def lost(setting, epsilon):
    """More noise costs more at a larger learning rate, a small clip norm at a smaller one."""
    length = setting["clip_norm"] * setting["lr"]
    noise = min(0.4, 0.03 / epsilon * (1 + setting["lr"]))
    return Parts(
        original=0.97, architecture=0.01, clipping=0.15 * (length < 0.05), noise=noise, interaction=-0.01
    )


def material(evidence, *, curves=None, explained=True):
    return SimpleNamespace(
        evidence=evidence,
        frontier=find_frontier(evidence, draws=100),
        decomposition=decompose(evidence) if explained else None,
        curves=curves,
        cliffs=cliffs_by_rule(evidence) if explained else {},
        published=None,
        audits=(),
    )


def scored(cell):
    """A private cell with every other score that a cell may have, and a published epsilon."""
    accuracy = cell.scores["accuracy"]
    more = {"ece": 0.02 + 0.3 * (1 - accuracy), "brier": 0.1 + 0.5 * (1 - accuracy)}
    more |= {f"accuracy[class={k}]": np.clip(accuracy - 0.02 * k, 0, 1) for k in range(10)}
    more |= {f"clipped[group={name}]": accuracy / (1 + k) for k, name in enumerate(("old", "young"))}
    published = None if cell.epsilon is None else cell.epsilon.upper / 3
    return replace(cell, scores={**cell.scores, **more}, published=published)


def traces(cells):
    steps = np.arange(1, 21)
    return tuple(
        Trace(cell=cell, name=name, layer=layer, steps=steps, values=(1 + cell) / (10.0 + steps), runs=5)
        for cell in cells
        for layer in (None, "0", "head.linear")
        for name in TRACED
    )


@pytest.fixture(scope="session")
def small():
    """42 private cells with all arms, five seeds, traces, scores of all kinds and published epsilons."""
    evidence = simulated_evidence(
        rng=np.random.default_rng(0),
        epsilons=(0.5, 1, 2, 4, 8, 16, 1e5),
        cells=crossed({"clip_norm": (0.1, 1.0, 10.0), "lr": (0.1, 1.0)}),
        parts=lost,
        seeds=5,
        arms=tuple(Arm),
    )
    evidence = replace(evidence, cells=tuple(scored(cell) for cell in evidence.cells))
    front = find_frontier(evidence, draws=10).front
    curves = Curves(metric="accuracy", fit={}, baselines={}, traces=traces(front))
    return material(evidence, curves=curves)


@pytest.fixture(scope="session")
def drawn(small):
    return drawings(small)


@pytest.fixture(scope="session")
def by_name(drawn):
    return {drawing.name: drawing for drawing in drawn}


@pytest.fixture(scope="session")
def large():
    """10,080 private cells on a grid of five axes, two seeds."""
    axes = {
        "clip_norm": tuple(np.geomspace(0.01, 10, 10).round(4).tolist()),
        "lr": tuple(np.geomspace(0.01, 3, 7).round(4).tolist()),
        "expected_batch_size": (64.0, 128.0, 256.0),
        "steps": (100, 200, 400, 800),
    }
    evidence = simulated_evidence(
        rng=np.random.default_rng(1),
        epsilons=tuple(np.geomspace(0.1, 100, 12).tolist()),
        cells=crossed(axes),
        parts=lost,
        seeds=2,
        num_test=None,
    )
    return material(evidence, explained=False)
