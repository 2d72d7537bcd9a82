"""CSV and Parquet: what was declared is read exactly, everything else is refused by file and column."""

import gzip
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.datasets.readers import DataFileError, csv, parquet

TABLE = pl.DataFrame(
    {
        "age": [20, 30, 40, 50],
        "height": [1.5, 1.75, 2.0, 1.25],
        "member": [True, False, True, True],
        "colour": ["red", "blue", "red", "green"],
        "sick": [0, 1, 1, 0],
    }
)
COLOURS = [["colour", ["red", "green", "blue"]]]


@pytest.fixture(params=["csv", "parquet"])
def kind(request):
    return request.param


def written(kind, path, table):
    path = path.with_suffix(f".{kind}")
    getattr(table, f"write_{kind}")(path)
    return path


def read(kind, path, **options):
    reader = {"csv": csv, "parquet": parquet}[kind]
    return reader(path, **({"target": "sick", "test_path": path} | options))


def test_numbers_truth_values_and_declared_categories(tmp_path, kind):
    rows = read(kind, written(kind, tmp_path / "a", TABLE), categories=COLOURS).train
    expected = [[20, 1.5, 1, 1, 0, 0], [30, 1.75, 0, 0, 0, 1], [40, 2, 1, 1, 0, 0], [50, 1.25, 1, 0, 1, 0]]
    np.testing.assert_array_equal(rows.inputs[0], np.array(expected, dtype=np.float32))
    assert rows.inputs[0].dtype == np.float32
    np.testing.assert_array_equal(rows.targets[0], TABLE["sick"].to_numpy())
    assert rows.targets[0].dtype == np.int64
    assert all(x.flags.writeable for x in (*rows.inputs, *rows.targets))


def test_inputs_are_read_in_the_order_asked_for(tmp_path, kind):
    rows = read(kind, written(kind, tmp_path / "a", TABLE), inputs=["height", "age"]).train
    np.testing.assert_array_equal(rows.inputs[0][0], [1.5, 20])


@pytest.mark.parametrize(
    ("options", "first_row"),
    [
        ({"offset": 10, "scale": 2}, [5, -4.25]),
        ({"scale": {"age": 10}}, [2, 1.5]),
        ({"offset": [["height", 1]], "scale": (("age", 100),)}, [0.2, 0.5]),
    ],
)
def test_scaling_is_declared(tmp_path, kind, options, first_row):
    path = written(kind, tmp_path / "a", TABLE)
    rows = read(kind, path, inputs=("age", "height"), **options).train
    np.testing.assert_allclose(rows.inputs[0][0], first_row, rtol=1e-6)


def test_large_numbers_are_shifted_before_they_are_rounded(tmp_path, kind):
    table = pl.DataFrame({"time": [1_700_000_000.25, 1_700_000_001.5], "sick": [0, 1]})
    rows = read(kind, written(kind, tmp_path / "a", table), offset=1_700_000_000).train
    np.testing.assert_array_equal(rows.inputs[0][:, 0], np.array([0.25, 1.5], dtype=np.float32))


def test_classes_are_declared_in_their_order(tmp_path, kind):
    path = written(kind, tmp_path / "a", TABLE)
    rows = read(kind, path, target="colour", categories=COLOURS, inputs="age").train
    np.testing.assert_array_equal(rows.targets[0], [0, 2, 0, 1])


def test_whole_numbers_may_be_declared_classes(tmp_path, kind):
    table = TABLE.with_columns(pl.Series("sick", [-1, 1, 1, -1]))
    path = written(kind, tmp_path / "a", table)
    rows = read(kind, path, inputs="age", categories={"sick": [-1, 1]}).train
    np.testing.assert_array_equal(rows.targets[0], [0, 1, 1, 0])


def test_regression_targets_are_floats_and_may_be_several(tmp_path, kind):
    path = written(kind, tmp_path / "a", TABLE)
    one = read(kind, path, target="height", inputs="age", task="regression", scale={"height": 0.5}).train
    assert one.targets[0].dtype == np.float32
    np.testing.assert_array_equal(one.targets[0], [3, 3.5, 4, 2.5])
    two = read(kind, path, target=("height", "age"), inputs="sick", task="regression").train
    np.testing.assert_array_equal(two.targets[0][1], [1.75, 30])


def test_test_rows_from_a_file_of_their_own(tmp_path, kind):
    path = written(kind, tmp_path / "a", TABLE)
    other = written(kind, tmp_path / "b", TABLE[2:].select("sick", "age"))  # another order of columns
    data = read(kind, path, inputs="age", test_path=str(other))
    np.testing.assert_array_equal(data.test.inputs[0][:, 0], [40, 50])


def test_held_out_rows_follow_from_the_seed_and_not_from_later_rows(tmp_path, kind):
    table = pl.DataFrame({"x": range(200), "sick": [i % 2 for i in range(200)]})
    path, longer = (
        written(kind, tmp_path / name, t) for name, t in (("a", table), ("b", table.vstack(table)))
    )
    options = {"test_path": None, "test_fraction": 0.25}
    first = read(kind, path, **options)
    train, test = ({*part.inputs[0][:, 0].tolist()} for part in (first.train, first.test))
    assert train | test == set(range(200))
    assert not train & test
    assert 25 <= len(test) <= 75  # binomial(200, 1/4): outside less than once in 10,000 seeds, and fixed here
    np.testing.assert_array_equal(read(kind, path, **options).test.inputs[0], first.test.inputs[0])
    assert len(read(kind, path, split_seed=1, **options).test) != 0
    assert {*read(kind, path, split_seed=1, **options).test.inputs[0][:, 0].tolist()} != test
    again = read(kind, longer, **options).test.inputs[0][: len(test), 0]
    np.testing.assert_array_equal(again, first.test.inputs[0][:, 0])


def test_a_column_of_lists_in_parquet_is_as_many_features(tmp_path):
    table = pl.DataFrame({"e": [[1.0, 2.0], [3.0, 4.0]], "x": [5, 6], "sick": [0, 1]})
    for typed in (table, table.with_columns(pl.col("e").cast(pl.Array(pl.Float32, 2)))):
        rows = read("parquet", written("parquet", tmp_path / "a", typed)).train
        np.testing.assert_array_equal(rows.inputs[0], [[1, 2, 5], [3, 4, 6]])


def test_categorical_columns_of_parquet_need_declared_categories_too(tmp_path):
    table = TABLE.with_columns(pl.col("colour").cast(pl.Categorical))
    path = written("parquet", tmp_path / "a", table)
    assert read("parquet", path, categories=COLOURS).train.inputs[0].shape == (4, 6)
    with pytest.raises(DataFileError, match="must hold numbers in column 'colour'"):
        read("parquet", path)


REFUSED_TABLES = [
    ({"age": [20, None, 40, None]}, {}, "no missing values, found 2 of 4 in column 'age'; drop these rows"),
    ({"height": [1.0, float("nan"), 2.0, 3.0]}, {}, "found 1 of 4 in column 'height'"),
    ({"height": [1.0, float("inf"), 2.0, 3.0]}, {}, "finite numbers in column 'height', found 1 infinite"),
    ({"height": [1.0, 1e39, 2.0, 3.0]}, {}, "too large for float32; drop these rows, or declare a scale"),
    ({"colour": ["red", "blue", None, "red"]}, {"categories": COLOURS}, "found 1 of 4 in column 'colour'"),
    (
        {"colour": ["red", "pink", "teal", "red"]},
        {"categories": COLOURS},
        "found 2 rows with others, the first 'pink'",
    ),
    ({"sick": [0, -1, 1, 0]}, {"inputs": "age"}, "class numbers from 0 in column 'sick', found -1"),
    ({"sick": [0.0, 1.0, 0.5, 1.0]}, {"inputs": "age"}, "class numbers in column 'sick', found Float64"),
    ({"sick": ["no", "yes", "no", "no"]}, {"inputs": "age"}, "declare the classes, as in categories="),
    ({"sick": [0, None, 1, 0]}, {"inputs": "age"}, "found 1 of 4 in column 'sick'"),
    ({}, {}, r"must hold numbers in column 'colour', found String; declare its values \(they are not learnt"),
    ({}, {"target": "ill"}, "must have a column 'ill', found none; the columns are age, height"),
    ({}, {"inputs": ["age", "weight"]}, "must have a column 'weight'"),
    ({}, {"inputs": ["age", "sick"]}, "inputs beside its target, found 'sick' as both"),
    ({}, {"inputs": []}, "inputs must be one name or several different ones"),
    ({}, {"inputs": ["age", "age"]}, "inputs must be one name or several different ones"),
    ({}, {"target": "colour", "inputs": "age", "task": "regression"}, "must hold numbers in column 'colour'"),
    ({}, {"task": "ranking"}, "task must be 'classification' or 'regression', found task='ranking'"),
    ({}, {"inputs": "age", "scale": "standard"}, "scale must be a finite number, found scale='standard'"),
    ({}, {"inputs": "age", "scale": {"age": "max"}}, "scale of 'age' must be a finite number"),
    ({}, {"inputs": "age", "scale": {"age": 0}}, "scale of 'age' must not be 0"),
    ({}, {"inputs": "age", "offset": True}, "offset must be a finite number, found offset=True"),
    ({}, {"inputs": "age", "scale": {"height": 1}}, "scale must name columns that are read from .*'height'"),
    ({}, {"inputs": "age", "categories": COLOURS}, "categories must name columns that are read .*'colour'"),
    ({}, {"categories": ["colour"]}, "categories must be given by column"),
    ({}, {"categories": [["colour", ["a"]], ["colour", ["b"]]]}, "categories must name a column once"),
    ({}, {"categories": {"colour": []}}, "must be different values of one type"),
    ({}, {"categories": {"colour": ["red", 1]}}, "must be different values of one type"),
    ({}, {"categories": {"colour": ["red", "red"]}}, "must be different values of one type"),
    ({}, {"categories": {"colour": "learn"}}, "must be different values of one type"),
    ({}, {"inputs": "age", "categories": {"age": ["young", "old"]}}, "must be values like those of .*Int64"),
    ({}, {"inputs": "age", "test_fraction": 0.5}, "found both, test_fraction=0.5; give one of the two"),
    ({}, {"inputs": "age", "test_path": None}, "found neither; give one of the two"),
    (
        {},
        {"inputs": "age", "test_path": None, "test_fraction": 1.0},
        "test_fraction must lie between 0 and 1",
    ),
    ({}, {"inputs": "age", "test_path": None, "test_fraction": "half"}, "test_fraction must lie between"),
    ({}, {"inputs": "age", "test_path": None, "test_fraction": 0.5, "split_seed": -1}, "split_seed must be"),
    ({}, {"inputs": "age", "test_path": None, "test_fraction": 1e-9}, "found 4 rows, 0 of them held out"),
]


@pytest.mark.parametrize(("change", "options", "message"), REFUSED_TABLES)
def test_refused_in_one_line(tmp_path, kind, change, options, message):
    table = TABLE.with_columns(**{name: pl.Series(values, strict=False) for name, values in change.items()})
    path = written(kind, tmp_path / "people", table)
    with pytest.raises(DataFileError, match=message) as refusal:
        read(kind, path, **options)
    assert "\n" not in str(refusal.value)
    if "column" in message:
        assert "people" in str(refusal.value) or "categories" in str(refusal.value)


def test_missing_values_inside_lists_and_lists_of_unequal_length_are_refused(tmp_path):
    for values, message in (
        ([[1.0, None], [3.0, 4.0]], "found 1 of 4 in column 'e'"),
        ([[1.0], [3.0, 4.0]], "lists of one length in column 'e', found lengths from 1 to 2"),
    ):
        table = pl.DataFrame({"e": values, "sick": [0, 1]})
        with pytest.raises(DataFileError, match=message):
            read("parquet", written("parquet", tmp_path / "a", table))


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("csv", b"", "must be whole, found: empty CSV"),
        ("csv", b"a,sick\n", "must hold at least one row"),
        ("csv", b"a,sick\n1,0\n1,2,3\n", "must be whole, found: found more fields"),
        ("csv", b'a,sick\n1,"0\n', "must be whole"),
        ("csv", b"a,sick\n1,0\n2\n", "found 1 of 2 in column 'sick'"),
        ("csv", b"a;sick\n1;0\n", "must have a column 'sick'"),
        ("csv", b"\x89PNG\r\n\x1a\n\0\0", "must"),
        ("parquet", b"", "must be whole"),
        ("parquet", b"PAR1 and then nothing", "must be whole"),
        ("parquet", b"a,sick\n1,0\n", "must be whole"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, kind, content, message):
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message) as refusal:
        read(kind, path)
    assert "damaged" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_absent_files_and_folders_are_refused_by_name(tmp_path, kind):
    with pytest.raises(DataFileError, match=r"none.x must exist, found no such file"):
        read(kind, tmp_path / "none.x")
    path = written(kind, tmp_path / "a", TABLE)
    with pytest.raises(DataFileError, match=r"none.x must exist"):
        read(kind, path, inputs="age", test_path=tmp_path / "none.x")
    with pytest.raises(DataFileError, match=str(tmp_path)):
        read(kind, tmp_path)


def test_other_separators_and_gzip(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x;sick\n1.5;0\n2.5;1\n"))
    assert csv(path, target="sick", test_path=path, separator=";").train.inputs[0].tolist() == [[1.5], [2.5]]


def test_a_late_fraction_is_not_cut_to_a_whole_number(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,sick\n" + "1,0\n" * 2000 + "1.5,1\n")
    assert csv(path, target="sick", test_path=path).train.inputs[0][-1, 0] == 1.5


def test_without_polars_the_package_is_named(tmp_path, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package polars, found none; run: pip install"):
        read(kind, tmp_path / "a")


VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, st.integers(0, 9)), min_size=1, max_size=20))
def test_what_was_written_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("tables")
    table = pl.DataFrame(rows, schema={"a": pl.Float32, "b": pl.Float32, "sick": pl.Int64}, orient="row")
    for kind in ("csv", "parquet"):
        found = read(kind, written(kind, folder / "a", table)).train
        np.testing.assert_array_equal(found.inputs[0], table.select("a", "b").to_numpy())
        np.testing.assert_array_equal(found.targets[0], table["sick"].to_numpy())
