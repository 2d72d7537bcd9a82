"""What a results folder knows about the making of its runs."""

import subprocess
import sys
from dataclasses import replace

import pytest

from clifftop import __version__
from clifftop.lab import Store, StoreError
from clifftop.lab.facts import (
    FACTS_ARTIFACT,
    DataSize,
    Environment,
    Facts,
    ModelSize,
    add_facts,
    environment,
    read_facts,
)
from clifftop.lab.spec import Factory
from clifftop.lab.sweep import Sweep, train_sweep

ROWS = Factory(target="clifftop.datasets:gaussian_clusters", options={"seed": 1})


def sweep_of(**changes):
    settings = {
        "name": "small",
        "model": Factory(target="torch.nn:Linear", options={"in_features": 10, "out_features": 5}),
        "data": ROWS,
        "delta": 1e-3,
        "expected_batch_size": 100,
        "steps": 2,
        "clip_norm": 1.0,
        "lr": 0.1,
        "noise_multiplier": 1.0,
    }
    return Sweep(**settings | changes)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, study="facts") as opened:
        yield opened


def test_a_sweep_keeps_its_facts(tmp_path):
    train_sweep(sweep_of(), tmp_path)
    train_sweep(sweep_of(steps=3), tmp_path)
    with Store.read(tmp_path) as store:
        found = read_facts(store)
    assert (found.num_train, found.num_test, found.num_parameters) == (400, 100, 55)
    assert found.size_of(ROWS) == DataSize(factory=ROWS, num_train=400, num_test=100)
    assert found.size_of(Factory(target="else:where")) is None
    assert found.parameters_of(Factory(target="else:where")) is None
    (made,) = found.environments  # the same twice
    assert made == environment("cpu")
    assert made.versions["clifftop"] == __version__
    assert {"python", "torch", "numpy"} <= made.versions.keys()
    assert found.started < found.finished


def test_sizes_that_differ_are_no_one_number(store):
    one = ModelSize(factory=Factory(target="a:b", options={"width": 1}), num_parameters=4)
    other = ModelSize(factory=Factory(target="a:b", options={"width": True}), num_parameters=5)
    add_facts(store, Facts(models=(one,)))
    assert read_facts(store).num_parameters == 4
    add_facts(store, Facts(models=(other,)))
    found = read_facts(store)
    assert found.models == (one, other)
    assert found.num_parameters is None
    assert found.num_train is None
    assert found.parameters_of(other.factory) == 5


def test_what_another_process_added_stays(store, tmp_path):
    first, second = (Environment(device=device, machine="m") for device in ("cpu", "cuda"))
    with Store.open(tmp_path, study="facts") as other:
        add_facts(store, Facts(environments=(first,)))
        add_facts(other, Facts(environments=(second,)))
        add_facts(store, Facts(environments=(first,)))
        assert read_facts(other).environments == (first, second)


def test_a_newer_word_on_a_factory_is_right(store):
    old = DataSize(factory=ROWS, num_train=1, num_test=1)
    add_facts(store, Facts(data=(old,)))
    add_facts(store, Facts(data=(replace(old, num_train=2),)))
    assert read_facts(store).num_train == 2


def test_a_store_without_facts_and_a_damaged_one(store):
    assert read_facts(store) is None
    store.put_artifact(FACTS_ARTIFACT, b'{"$kind": "clifftop.lab.facts:Later"}')
    with pytest.raises(StoreError, match="update clifftop"):
        read_facts(store)
    with pytest.raises(StoreError):
        add_facts(store, Facts())
    assert store.artifact(FACTS_ARTIFACT).endswith(b'Later"}')


def test_facts_are_read_without_torch():
    program = "import sys, clifftop.lab.facts, clifftop.lab.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
