"""From a factory to rows: every form a person may return, read once, shared, or refused by name."""

import random
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from clifftop.datasets import ArrayDataset, Rows, RowsDataset, gaussian_clusters
from clifftop.lab import Factory, OptimizerSpec, RunSpec, SpecError, train_cohort
from clifftop.lab.data import load_data, train_test
from clifftop.lab.materialise import rows_of_dataset
from clifftop.studies import get

X, Y = np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1])

FACTORIES = """
import random
import numpy as np
import torch
from torch.utils.data import TensorDataset, random_split

calls = []

def dataset(rows=6, factor=1.0):
    calls.append(("dataset", rows, factor))
    x = torch.arange(2.0 * rows).reshape(rows, 2) * factor
    return TensorDataset(x, torch.arange(rows) % 2)

def fixed(rows=6, factor=1.0):
    return dataset(rows, factor), dataset(rows, factor)

def seeded(*, seed, rows=6):
    calls.append(("seeded", seed))
    return dataset(rows, seed), dataset(rows, seed)

def keywords(**options):
    return fixed(**options)

def divided(rows=40):
    return random_split(dataset(rows), [0.5, 0.5])

def drawn(seed):
    x = torch.tensor([[random.random(), np.random.random(), torch.rand(()).item()]])
    return TensorDataset(x, torch.zeros(1)), TensorDataset(x, torch.zeros(1))

def broken():
    raise RuntimeError("the disk\\n  is gone")

def number():
    return 3

def named(columns="target"):
    rows = [{"a": torch.ones(2), "b": i, columns: i % 2} for i in range(4)]
    return {"train": rows, "test": rows}
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"factories_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


class Listed(Dataset):
    """Rows from a list."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        return self.rows[number]


class Stream(IterableDataset):
    """Rows with no number."""

    def __iter__(self):
        yield torch.zeros(2), 0


def same(rows, inputs, targets):
    for found, expected in zip((*rows.inputs, *rows.targets), (*inputs, *targets), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "found",
    [
        RowsDataset(train=Rows(inputs=(X,), targets=(Y,)), test=Rows(inputs=(X[:2],), targets=(Y[:2],))),
        ArrayDataset(train_inputs=X, train_targets=Y, test_inputs=X[:2], test_targets=Y[:2]),
        {"train_inputs": X, "train_targets": Y, "test_inputs": X[:2], "test_targets": Y[:2]},
        {
            "train": {"inputs": torch.from_numpy(X), "targets": (torch.from_numpy(Y),)},
            "test": {"inputs": (X[:2],), "targets": Y[:2]},
        },
        (
            TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
            Listed(list(zip(X[:2], Y[:2], strict=True))),
        ),
        [Listed([(torch.from_numpy(x), int(y)) for x, y in zip(X, Y, strict=True)])] * 2,
        {"train": Rows(inputs=(X,), targets=(Y,)), "test": Rows(inputs=(X,), targets=(Y,))},
    ],
    ids=["rows", "arrays", "mapping", "mappings", "datasets", "listed", "mapping of rows"],
)
def test_what_a_factory_may_return(found):
    data = train_test(found)
    same(data.train, (X,), (Y,))
    same(data.test, (X[: len(data.test)],), (Y[: len(data.test)],))


def test_arrays_and_tensors_are_not_copied():
    x, y = torch.from_numpy(X.copy()), torch.from_numpy(Y.copy())
    rows = rows_of_dataset("train", TensorDataset(x, y))
    assert rows.inputs[0].__array_interface__["data"][0] == x.data_ptr()
    arrays = train_test({"train_inputs": X, "train_targets": Y, "test_inputs": X, "test_targets": Y})
    assert arrays.train.inputs[0] is X


@pytest.mark.parametrize(
    ("rows", "inputs", "targets"),
    [
        ([(1, 2.5, 0), (3, 4.5, 1)], ([1, 3], np.float32([2.5, 4.5])), ([0, 1],)),
        ([([1, 2], 0), ([3, 4], 1)], ([[1, 2], [3, 4]],), ([0, 1],)),
        ([([1, 2.5], True), ([3, 4.0], False)], (np.float32([[1, 2.5], [3, 4]]),), ([True, False],)),
        ([(np.uint8([1, 255]), np.int16(0))] * 2, ([[1, 255]] * 2,), ([0, 0],)),
        ([(torch.tensor([0.5]).bfloat16(), torch.tensor(1))] * 2, ([[0.5]] * 2,), ([1, 1],)),
        ([(np.float16([0.5]), np.float64(1.5))] * 2, ([[0.5]] * 2,), ([1.5, 1.5],)),
        ([{"u": 1, "target": 0.5, "v": [2]}] * 2, ([1, 1], [[2], [2]]), ([0.5, 0.5],)),
    ],
)
def test_rows_of_a_dataset(rows, inputs, targets):
    found = rows_of_dataset("train", Listed(rows))
    same(found, inputs, targets)
    assert {x.dtype.name for x in (*found.inputs, *found.targets)} <= {"float32", "float64", "int64", "bool"}
    if isinstance(rows[0], dict):
        assert all(x.dtype == np.float32 for x in found.targets)


def test_rows_that_are_dicts_with_names():
    rows = Listed([{"label": i % 2, "text": [i, i], "weight": 0.5} for i in range(3)])
    found = rows_of_dataset("train", rows, input_names="text", target_names=("label", "weight"))
    same(found, ([[0, 0], [1, 1], [2, 2]],), ([0, 1, 0], [0.5, 0.5, 0.5]))


GOOD = Listed([(torch.zeros(2), 0)])


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "a data factory must return data, found NoneType; return a clifftop.datasets.ArrayDataset"),
        ((GOOD,), "a pair must be"),
        ((GOOD, GOOD, GOOD), "a pair must be"),
        ({"train": GOOD}, "found no train_inputs, train_targets, test_inputs, test_targets"),
        ({"train_inputs": X, "train_targets": Y}, "found no test_inputs, test_targets"),
        ({"train": {"inputs": X}, "test": GOOD}, "train must have targets, found the names inputs"),
        (
            (GOOD, {"inputs": X, "targets": Y[:3]}),
            r"test rows: inputs and targets must have one number of rows",
        ),
        ((Stream(), GOOD), "train must be a map-style Dataset, found Stream; private sampling draws rows by"),
        ((GOOD, iter([])), "test must be a map-style Dataset, found list_iterator"),
        ((DataLoader(GOOD), GOOD), "train must be a map-style Dataset, found DataLoader"),
        ((Listed([]), GOOD), "train must hold at least one row, found an empty Listed"),
        ((Listed([torch.zeros(2)]), GOOD), r"row 0 of train must be \(input, ..., target\) or a dict"),
        ((Listed([(torch.zeros(2),)]), GOOD), "found tuple of 1"),
        (
            (Listed([("text", 0)]), GOOD),
            "part 0 of row 0 of train must be a tensor, an array or a number, found str",
        ),
        (
            (Listed([(torch.zeros(2), 0), (torch.zeros(3), 0)]), GOOD),
            r"found float32\[3\], int64\[\] in row 1 and",
        ),
        ((Listed([(torch.zeros(2), 0), (torch.zeros(2), 0.5)]), GOOD), r"float32\[2\], float32\[\] in row 1"),
        ((Listed([(torch.zeros(2), 0), (torch.zeros(2),)]), GOOD), "found tuple of 1"),
        (
            (Listed([([1, 2], 0), ([1, 2, 3], 0)]), GOOD),
            "must have one form, .*; give them one shape and dtype",
        ),
        ((Listed([(torch.full((2,), torch.nan), 0)]), GOOD), r"train rows: inputs\[0\] must be finite"),
        (
            (Listed([(torch.zeros(2, dtype=torch.complex64), 0)]), GOOD),
            "must be float32, float64, int64 or bool",
        ),
        ((Listed([{"x": 1, "label": 0}]), GOOD), "found x, label and no target; name them with input_names"),
        ((Listed([{"target": 0}]), GOOD), "must have inputs and targets, found target; name them"),
        ((Listed([{"x": 1, "target": 0}, {"x": 1}]), GOOD), "row 1 of train must have the names x, target"),
        ((GOOD, Listed([(torch.zeros(3), 0)])), "train and test rows must have one form"),
    ],
)
def test_other_things_are_refused_in_one_line(found, message):
    with pytest.raises(ValueError, match=message) as refusal:
        train_test(found)
    assert "\n" not in str(refusal.value)


def test_more_than_memory_is_refused_before_it_is_read():
    reads = []

    class Huge(Listed):
        def __len__(self):
            return 10**9

        def __getitem__(self, number):
            reads.append(number)
            return super().__getitem__(number)

    with pytest.raises(
        ValueError, match=r"found 1000000000 rows of 16 bytes, 14.9 GiB, and 0.0 GiB free; use"
    ):
        rows_of_dataset("train", Huge([(torch.zeros(2), 0)]), memory=lambda: 10**6)
    assert set(reads) == {0}


def test_data_that_takes_no_seed_is_loaded_once(module):
    factory = Factory(target=f"{module}:fixed", options={"rows": 4})
    first = load_data(factory, seed=1)
    assert load_data(Factory(target=f"{module}:fixed", options={"rows": 4}), seed=2) is first
    assert len(sys.modules[module].calls) == 2  # train and test
    assert load_data(Factory(target=f"{module}:fixed", options={"rows": 5}), seed=1) is not first


def test_equal_numbers_of_other_types_are_other_contents(module):
    one, real, true = (
        load_data(Factory(target=f"{module}:fixed", options={"factor": value}), seed=0)
        for value in (1, 1.0, True)
    )
    assert one is not real
    assert one is not true


def test_few_data_sets_are_kept(module):
    factories = [Factory(target=f"{module}:fixed", options={"rows": rows}) for rows in (2, 3, 4)]
    first = load_data(factories[0], seed=0)
    for factory in factories:
        load_data(factory, seed=0)
    assert load_data(factories[0], seed=0) is not first


def test_data_that_takes_a_seed_is_the_seed_s_own(module):
    factory = Factory(target=f"{module}:seeded")
    first, second = load_data(factory, seed=1), load_data(factory, seed=2)
    np.testing.assert_array_equal(2 * first.train.inputs[0], second.train.inputs[0])
    pinned = Factory(target=f"{module}:seeded", options={"seed": 5})
    assert load_data(pinned, seed=1) is load_data(pinned, seed=2)
    np.testing.assert_array_equal(load_data(pinned, seed=1).train.inputs[0], 5 * first.train.inputs[0])


def test_a_seed_is_not_pushed_through_keywords(module):
    assert len(load_data(Factory(target=f"{module}:keywords"), seed=1).train) == 6


def test_a_random_split_is_the_same_in_every_process_and_disturbs_no_generator(module):
    factory = Factory(target=f"{module}:divided")
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = load_data(factory, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    train, test = ({*rows.inputs[0][:, 0].tolist()} for rows in (first.train, first.test))
    assert not train & test
    for options in ({"rows": 2}, {"rows": 4}):  # drive the first out of the cache
        load_data(Factory(target=f"{module}:divided", options=options), seed=1)
    torch.manual_seed(12)
    again = load_data(factory, seed=9)
    assert again is not first
    np.testing.assert_array_equal(again.train.inputs[0], first.train.inputs[0])


def test_every_global_generator_starts_from_the_seed(module):
    factory, other = Factory(target=f"{module}:drawn"), Factory(target=f"{module}:number")
    random.seed(1)
    np.random.seed(1)
    expected = (random.random(), np.random.random())
    random.seed(1)
    np.random.seed(1)
    draws = [load_data(factory, seed=seed).train.inputs[0] for seed in (3, 4, 5, 3)]
    assert (random.random(), np.random.random()) == expected
    np.testing.assert_array_equal(draws[0], draws[3])
    assert (draws[0] != draws[1]).all()
    with pytest.raises(SpecError):
        load_data(other, seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nothing", {}, "target must name a callable of its module"),
        ("calls", {}, "target must name a callable, found .* of type list"),
        ("broken", {}, r":broken' raising RuntimeError: the disk is gone"),
        ("fixed", {"colour": "red"}, r":fixed' raising TypeError: .*unexpected keyword argument 'colour'"),
        ("number", {}, r":number' raising ValueError: a data factory must return data, found int"),
        ("seeded", {"rows": 0}, r":seeded' raising ValueError: train must hold at least one row"),
    ],
)
def test_errors_name_the_factory(module, name, options, message):
    with pytest.raises(SpecError, match=message) as refusal:
        load_data(Factory(target=f"{module}:{name}", options=options), seed=0)
    assert module in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_absent_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    factory = Factory(target="clifftop.datasets.readers:csv", options={"path": str(tmp_path), "target": "y"})
    with pytest.raises(SpecError, match=r"readers:csv' raising ModuleNotFoundError: .* run: pip install"):
        load_data(factory, seed=0)


def test_named_rows_of_datasets_by_a_factory(module):
    wrapped = "clifftop.lab.data:torch_dataset"
    options = {"datasets": f"{module}:named", "columns": "label", "target_names": ["label"]}
    found = load_data(Factory(target=wrapped, options={**options, "input_names": ["b"]}), seed=0).train
    same(found, ([0, 1, 2, 3],), ([0, 1, 0, 1],))
    assert len(load_data(Factory(target=wrapped, options=options), seed=0).test.inputs) == 2
    for change, message in (
        ({"target_names": ["class"]}, "found a, b, label and no class"),
        ({"datasets": f"{module}:none"}, "must name a callable"),
        ({"datasets": "none"}, "must be 'module:callable'"),
    ):
        with pytest.raises(SpecError, match=message):
            load_data(Factory(target=wrapped, options=options | change), seed=0)
    with pytest.raises(
        SpecError, match=r"must return a pair \(train, test\) of torch Datasets, found int from"
    ):
        load_data(Factory(target=wrapped, options={"datasets": f"{module}:number"}), seed=0)


def test_a_run_trains_on_a_reader_s_rows_as_on_the_same_arrays(tmp_path):
    data = gaussian_clusters(0)
    arrays = {
        name: getattr(data, name) for name in ("train_inputs", "train_targets", "test_inputs", "test_targets")
    }
    np.savez(tmp_path / "a.npz", **arrays)
    options = {"path": str(tmp_path / "a.npz"), "inputs": "train_inputs", "targets": "train_targets"}
    options |= {"test_inputs": "test_inputs", "test_targets": "test_targets"}
    template = get("no-cliff-sound").template
    fields = {name: getattr(template, name) for name in ("model", "plan", "streams")}
    metrics = []
    for factory in (
        Factory(target="clifftop.datasets:gaussian_clusters", options={"seed": 0}),
        Factory(target="clifftop.datasets.readers:npz", options=options),
    ):
        spec = RunSpec(
            data=factory, optimizer=OptimizerSpec(lr=0.1), steps=4, evaluate_every=4, seed=0, **fields
        )
        (block,) = train_cohort([spec])
        metrics.append(block.metrics["loss"][1])
    np.testing.assert_array_equal(*metrics)
