"""A small sweep to tune, and trainers and folders that do as they are told."""

import types

import numpy as np
import pytest

from clifftop.events import NegativeBinomialTrials
from clifftop.lab.cohort import Block
from clifftop.lab.spec import Factory
from clifftop.lab.sweep import Sweep
from clifftop.lab.tuning.design import design
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.state import Memory

DATA = Factory(
    target="clifftop.datasets:gaussian_clusters",
    options={"seed": 1, "per_class": 60, "num_train": 200, "spread": 1.0, "normalise": False},
)
LRS = (0.1, 0.2, 0.4, 0.8)


def small_sweep(**changes) -> Sweep:
    fields = {
        "name": "small",
        "model": Factory(target="clifftop.studies.no_cliff.model:mlp"),
        "data": DATA,
        "delta": 1e-5,
        "expected_batch_size": 50,
        "steps": 20,
        "lr": 0.1,
        "clip_norm": 1.0,
        "noise_multiplier": 4.0,
        "axes": {"lr": LRS},
    }
    fields |= changes
    for name in fields["axes"]:
        fields.pop("noise_multiplier" if name == "target_epsilon" else name, None)
    return Sweep(**fields)


def small_design(sweep=None, trials=None, **options):
    options = {"num_examples": 200, "num_scored": None} | options
    return design(sweep or small_sweep(), trials or NegativeBinomialTrials(mean=3.0), **options)


class DictFolder:
    """A secret folder in memory that may lose its power before the n-th change."""

    path = "memory"

    def __init__(self, *, fails_at=None):
        self.files, self.changes, self.fails_at = {}, 0, fails_at

    def _change(self):
        self.changes += 1
        if self.changes == self.fails_at:
            raise KeyboardInterrupt

    def names(self):
        return sorted(self.files)

    def read(self, name):
        return self.files.get(name)

    def write(self, name, content):
        self._change()
        self.files[name] = content

    def destroy(self, name):
        self._change()
        self.files.pop(name, None)


def by_lr(spec) -> float:
    return LRS.index(spec.optimizer.lr) / 10


def fake_trainer(score=by_lr, trained=None):
    """Two blocks a cohort; the score and the one parameter of a run follow from its spec."""

    def train(specs, *, state=None):
        runs, steps = len(specs), specs[0].steps
        nothing = {
            "metrics": {},
            "trace": {},
            "diverged": np.zeros(runs, bool),
            "trained": np.ones(runs, bool),
        }
        if state is None:
            yield Block(step=1, state=b"half", finished=False, **nothing)
        if trained is not None:
            trained.extend(specs)
        scores = np.array([[score(spec)] for spec in specs])
        nothing["metrics"] = {"accuracy": (np.array([steps]), scores)}
        weights = np.array([[spec.seed % 1000, spec.optimizer.lr] for spec in specs])
        yield Block(step=steps, state=None, finished=True, parameters={"w": weights}, **nothing)

    return train


@pytest.fixture(scope="session")
def tools():
    return types.SimpleNamespace(
        DictFolder=DictFolder,
        LRS=LRS,
        Memory=Memory,
        TuneError=TuneError,
        by_lr=by_lr,
        fake_trainer=fake_trainer,
        small_design=small_design,
        small_sweep=small_sweep,
    )


@pytest.fixture(scope="session")
def designed(tools):
    """The price of the small sweep, found once."""
    return tools.small_design()
