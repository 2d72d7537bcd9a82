"""Group labels travel with their rows, from a column or a factory, and no model sees them."""

import numpy as np
import polars as pl
import pytest
import torch

from clifftop.datasets import Rows, RowsDataset
from clifftop.datasets.readers import DataFileError, csv, parquet
from clifftop.datasets.readers.splitting import held_out
from clifftop.lab.data import train_test

X, Y = np.arange(8, dtype=np.float32).reshape(4, 2), np.array([0, 1, 1, 0])
TABLE = pl.DataFrame(
    {
        "age": [30.0, 60.0, 20.0, 70.0] * 5,
        "sex": ["f", "m", "m", "f"] * 5,
        "label": [0, 1, 1, 0] * 5,
        "number": list(range(20)),
    }
)


@pytest.mark.parametrize(
    "labels", [["old", "young", "old", "old"], [1, 2, 2, 1], np.array(["a", "b", "a", "b"], dtype=object)]
)
def test_rows_keep_labels(labels):
    rows = Rows(inputs=(X,), targets=(Y,), groups=labels)
    assert rows.groups.tolist() == list(labels)
    assert len(rows.inputs) == 1
    assert Rows(inputs=(X,), targets=(Y,)).groups is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], r"a label for each of 4 rows, text or whole numbers, found shape \(2,\)"),
        (np.zeros(4), "found shape .* and float64"),
        (np.array(["a", None, "b", "c"], dtype=object), "and object"),
        (["a", "b", "c", " "], "without square brackets, found ' '"),
        (["a", "b", "c", "d]"], r"found 'd\]'"),
        (["a", "b", "c", "d\n"], r"found 'd\\n'"),
    ],
)
def test_rows_refuse_what_is_no_label(labels, message):
    with pytest.raises(ValueError, match=message) as refusal:
        Rows(inputs=(X,), targets=(Y,), groups=labels)
    assert "\n" not in str(refusal.value)


@pytest.fixture(params=["csv", "parquet"])
def read(request, tmp_path):
    """The table in a file, as a function of the reader's options."""
    path = tmp_path / f"rows.{request.param}"
    (TABLE.write_csv if request.param == "csv" else TABLE.write_parquet)(path)
    reader = csv if request.param == "csv" else parquet
    return lambda **options: reader(path, target="label", test_fraction=0.4, **options)


def test_a_column_of_groups_is_split_with_its_rows_and_is_no_input(read):
    data = read(group="sex")
    out = held_out(20, test_fraction=0.4, split_seed=0)
    for rows, kept in ((data.train, ~out), (data.test, out)):
        assert rows.groups.tolist() == TABLE.filter(kept)["sex"].to_list()
        assert rows.inputs[0].shape == (kept.sum(), 2)
        assert rows.inputs[0][:, 1].tolist() == TABLE.filter(kept)["number"].to_list()


def test_a_column_of_groups_that_inputs_names_is_an_input_too(read):
    data = read(group="sex", inputs=["age", "sex"], categories=[["sex", ["f", "m"]]])
    assert data.train.inputs[0][:, 1:].argmax(1).tolist() == [int(g == "m") for g in data.train.groups]
    assert read(group="number", inputs="age").test.groups.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "sexes", "inputs": "age"}, "must have a column 'sexes', found none"),
        (
            {"group": "age", "inputs": "number"},
            "labels in the group column 'age', .*, found Float64",
        ),
        ({"group": ["sex", "age"]}, "group must be the name of one column"),
    ],
)
def test_a_reader_refuses_a_column_that_holds_no_groups(read, options, message):
    with pytest.raises(DataFileError, match=message):
        read(**options)


def test_missing_and_odd_labels_name_the_column(tmp_path):
    for values, message in (
        (["a", None, "b"], "found 1 of 3 in column 'g'"),
        (["a", "b]", "c"], "column 'g'"),
    ):
        path = tmp_path / "rows.parquet"
        pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0], "g": values}).write_parquet(path)
        with pytest.raises(DataFileError, match=message):
            parquet(path, target="y", test_path=path, group="g")


def test_a_mapping_may_name_groups():
    tensors = {"inputs": torch.from_numpy(X), "targets": torch.from_numpy(Y)}
    found = train_test({"train": {**tensors, "groups": torch.tensor([1, 2, 1, 2])}, "test": tensors})
    assert found.train.groups.tolist() == [1, 2, 1, 2]
    assert found.test.groups is None
    flat = {f"{side}_{name}": x for side in ("train", "test") for name, x in tensors.items()}
    found = train_test({**flat, "test_groups": ["a", "b", "a", "b"]})
    assert found.test.groups.tolist() == ["a", "b", "a", "b"]
    assert isinstance(found, RowsDataset)
