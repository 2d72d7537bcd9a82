"""One run out of a store: found by the start of its id, told whole but for its noise's seed."""

from dataclasses import replace

import pytest

from clifftop.lab import tables
from clifftop.lab.contract import StoreError
from clifftop.lab.reading.one_run import find_run
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyNoise, ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SECRET = 2**200 + 987654321
SPECS = [toy_spec(seed=seed) for seed in range(40)] + [replace(toy_spec(), noise_seed=SECRET)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("toy"), study="toy") as opened:
        run_sweep(opened, SPECS, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        yield opened


def test_a_run_is_found_by_the_start_of_its_id(store):
    wanted = SPECS[7].id
    for prefix in (wanted, wanted[:12], wanted[:12].upper()):
        record = find_run(store, prefix)
        assert record.id == wanted
    assert record.row == tables.runs(store, ids=[wanted]).to_dicts()[0]
    assert record.trace.equals(tables.trace(store, wanted))
    assert record.metrics["name"].unique(maintain_order=True).to_list() == ["accuracy", "loss"]
    assert record.neighboring_relation is None
    assert "block" not in record.timeline["kind"].to_list()
    assert record.timeline["kind"][0] == "sweep_started"


@pytest.mark.parametrize("prefix", ["", "zz", "%", "_", "'", f"{SPECS[0].id}0"])
def test_no_run_is_found_by_anything_else(store, prefix):
    with pytest.raises(StoreError, match="found none with"):
        find_run(store, prefix)


def test_several_are_listed(store):
    letters = [spec.id[0] for spec in SPECS]
    common = max(letters, key=letters.count)
    assert letters.count(common) > 1
    with pytest.raises(StoreError, match=f"found {letters.count(common)} with '{common}'") as caught:
        find_run(store, common)
    first = next(spec for spec in SPECS if spec.id[0] == common)
    assert f"{first.id} (done, seed {first.seed})" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_seed_of_the_noise_stays_in_the_store(store):
    record = find_run(store, SPECS[-1].id)
    assert record.row["noise"] == "own"
    assert "noise_seed" not in record.spec
    assert str(SECRET) not in repr(record)


def test_what_the_streams_hold_stays_in_the_store(tmp_path):
    spec = replace(toy_spec(), streams=ToyNoise(noise_multiplier=0.123456789))
    with Store.open(tmp_path, study="toy") as store:
        store.add([spec])
        record = find_run(store, spec.id)
    assert record.spec["streams"] == {"$kind": "clifftop.testing.stores:ToyNoise"}
    assert "0.123456789" not in repr(record)


def test_foreign_classes_are_named(store, tmp_path):
    assert find_run(store, SPECS[0].id).foreign == ()
    spec = SPECS[0]
    text = spec.canonical.replace("clifftop.testing.stores:ToyStreams", "shop.streams:Mine")
    with Store.open(tmp_path, study="toy") as other:
        other.add([spec])
        with other._transaction() as db:
            db.execute("UPDATE run SET spec = ?", (text,))
        assert find_run(other, spec.id).foreign == ("shop.streams:Mine",)
