"""Sweep files with factories of their own beside them."""

import itertools
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

_numbers = itertools.count()

MODULE = """
import numpy as np
import torch
from clifftop.datasets import ArrayDataset

CALLS = []


def net(*, features=4, width=8, classes=3):
    return torch.nn.Sequential(
        torch.nn.Linear(features, width), torch.nn.ReLU(), torch.nn.Linear(width, classes)
    )


def rows(*, count=60, features=4, seed=0):
    CALLS.append(("rows", count))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count + 30, features)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 1)
    return ArrayDataset(
        train_inputs=x[:count], train_targets=y[:count], test_inputs=x[count:], test_targets=y[count:]
    )


def broken(*, width=1):
    raise KeyError("no such\\nlayer")


def needs(*, width):
    return net(width=width)


def no_module():
    return 7


def mean_loss(output, targets):
    return torch.nn.functional.cross_entropy(output, targets)


def with_batch_norm():
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))


not_callable = 3
"""

TOML = """
name = "small"

[model]
factory = "MODULE:net"

[data]
factory = "MODULE:rows"

[privacy]
delta = 1e-3
clip_norm = 1.0

[training]
expected_batch_size = 20
epochs = 2

[axes]
noise_multiplier = [1.0, 2.0]
lr = [0.1, 0.5, 1.0]
"""


@dataclass(frozen=True)
class Folder:
    """A folder with a module of factories and room for sweep files."""

    path: Path
    module: str

    def toml(self, *changes: tuple[str, str], name: str = "sweep") -> Path:
        """The small sweep's file, each ``(old, new)`` replaced; ``old`` must be there."""
        text = TOML
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        return self.write(text, name=f"{name}.toml")

    def write(self, text: str, *, name: str) -> Path:
        """A file in which MODULE is the module's name."""
        file = self.path / name
        file.write_text(textwrap.dedent(text).replace("MODULE", self.module))
        return file


@pytest.fixture
def folder(tmp_path):
    """A folder whose module has a name that no other test has used."""
    module = f"factories_{next(_numbers)}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    before = list(sys.path)
    yield Folder(tmp_path, module)
    sys.path[:] = before
    sys.modules.pop(module, None)


@pytest.fixture
def small(folder):
    from clifftop.lab.sweep import load_sweep

    return load_sweep(folder.toml())
