"""From a factory to the rows that cohorts train on."""

from __future__ import annotations

import inspect

from clifftop.datasets import TrainTest
from clifftop.lab.spec import Factory, SpecError


def load_data(factory: Factory, *, seed: int) -> TrainTest:
    """The data of a run (being written by DATA: this is a stand-in)."""
    found = factory.resolve()
    takes_seed = "seed" in inspect.signature(found).parameters
    data = found(**({"seed": seed} if takes_seed else {}), **factory.options)
    if not hasattr(data, "train"):
        raise SpecError(f"data must be an ArrayDataset, found {type(data).__name__} from {factory.target}")
    return data
