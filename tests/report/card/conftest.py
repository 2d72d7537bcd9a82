"""Small real sweeps, trained once, and copies of their folders to damage."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from clifftop.lab.sweep import Factory, Sweep, train_sweep


def sweep_of(**changes) -> Sweep:
    """Thirteen steps of 64 rows of 400, in a fixed order unless told otherwise: its curve takes no time."""
    settings = {
        "name": "small",
        "model": Factory(target="clifftop.studies.no_cliff.model:mlp"),
        "data": Factory(target="clifftop.datasets:gaussian_clusters", options={"seed": 1}),
        "delta": 1e-5,
        "expected_batch_size": 64,
        "epochs": 2,
        "clip_norm": 1.0,
        "lr": 0.5,
        "noise_multiplier": 4.0,
        "sampler": "fixed-order",
    }
    fixed = {name: value for name, value in settings.items() if name not in changes.get("axes", {})}
    return Sweep(**fixed | changes)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Callable[..., Path]:
    """The folder of a small sweep with these changes; never to be written to."""
    known: dict[str, Path] = {}

    def folder(**changes) -> Path:
        sweep = sweep_of(**changes)
        if sweep.canonical not in known:
            known[sweep.canonical] = tmp_path_factory.mktemp("card")
            train_sweep(sweep, known[sweep.canonical])
        return known[sweep.canonical]

    return folder


@pytest.fixture
def damaged(trained, tmp_path) -> Callable[..., Path]:
    """A copy of a small sweep's folder after some SQL."""

    def folder(*statements: str, **changes) -> Path:
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(trained(**changes), copy)
        with sqlite3.connect(copy / "store.sqlite", isolation_level=None) as db:
            for statement in statements:
                db.execute(statement)
        db.close()
        return copy

    return folder
