"""Arrays in .npy, .npz and safetensors files: dtypes, splits, and refusals that name the file."""

import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from clifftop.datasets.readers import DataFileError, npy, npz, safetensors

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def files(folder, names):
    """The .npy files of one name or several."""
    if names is None:
        return None
    return [folder / f"{name}.npy" for name in ([names] if isinstance(names, str) else names)]


def save(kind, folder, arrays):
    """Write named arrays, and return a reader that takes names."""
    if kind == "npy":
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)

        def read(*, inputs="x", targets="y", test_inputs=None, test_targets=None, **options):
            return npy(
                files(folder, inputs),
                files(folder, targets),
                test_inputs=files(folder, test_inputs),
                test_targets=files(folder, test_targets),
                **options,
            )

        return read
    path = folder / f"arrays.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    reader = {"npz": npz, "safetensors": safetensors}[kind]
    return lambda *, inputs="x", targets="y", **options: reader(
        path, inputs=inputs, targets=targets, **options
    )


@pytest.fixture(params=["npy", "npz", "safetensors"])
def kind(request):
    return request.param


def whole(kind, folder, **arrays):
    """The rows of a file whose test rows are its train rows."""
    read = save(kind, folder, {"x": X, "y": Y} | arrays)
    return lambda **options: (
        read(
            test_inputs=options.get("inputs", "x"), test_targets=options.get("targets", "y"), **options
        ).train
    )


def test_arrays_are_read(tmp_path, kind):
    rows = whole(kind, tmp_path)()
    np.testing.assert_array_equal(rows.inputs[0], X)
    np.testing.assert_array_equal(rows.targets[0], Y)
    assert all(array.flags.writeable for array in (*rows.inputs, *rows.targets))
    assert torch.from_numpy(rows.inputs[0]).shape == (6, 4)


@pytest.mark.parametrize(
    ("given", "task", "options", "inputs", "targets"),
    [
        ((np.float64, np.int32), "classification", {}, np.float32, np.int64),
        ((np.float16, np.uint8), "classification", {}, np.float32, np.int64),
        ((np.uint8, np.bool_), "classification", {}, np.float32, np.int64),
        ((np.int16, np.int64), "classification", {}, np.int64, np.int64),
        ((np.bool_, np.int64), "classification", {}, np.bool_, np.int64),
        ((np.int64, np.int64), "classification", {"scale": 2}, np.float32, np.int64),
        ((np.float32, np.float64), "regression", {}, np.float32, np.float32),
        ((np.float32, np.int64), "regression", {}, np.float32, np.float32),
    ],
)
def test_dtypes(tmp_path, kind, given, task, options, inputs, targets):
    x, y = (array.astype(dtype) for array, dtype in zip((X, Y), given, strict=True))
    rows = whole(kind, tmp_path, x=x, y=y)(task=task, **options)
    assert (rows.inputs[0].dtype, rows.targets[0].dtype) == (inputs, targets)
    np.testing.assert_array_equal(rows.inputs[0], x / options.get("scale", 1))
    np.testing.assert_array_equal(rows.targets[0], y)


def test_several_inputs_and_targets(tmp_path, kind):
    rows = whole(kind, tmp_path, u=X[:, :2], z=Y[:, None].repeat(3, 1))(inputs=["x", "u"], targets=("y", "z"))
    assert [x.shape for x in rows.inputs] == [(6, 4), (6, 2)]
    assert [y.shape for y in rows.targets] == [(6,), (6, 3)]


def test_a_column_of_classes_is_flattened(tmp_path, kind):
    assert whole(kind, tmp_path, y=Y[:, None])().targets[0].shape == (6,)
    assert whole(kind, tmp_path, y=Y[:, None])(task="regression").targets[0].shape == (6, 1)


def test_scaling_is_declared(tmp_path, kind):
    rows = whole(kind, tmp_path, x=X.astype(np.uint8))(offset=1, scale=255)
    np.testing.assert_allclose(rows.inputs[0], (X - 1) / 255, rtol=1e-6)


def test_scaling_is_declared_for_each_feature(tmp_path, kind):
    rows = whole(kind, tmp_path)(offset=[0, 1, 2, 3], scale=(1, 2, 4, 8))
    np.testing.assert_array_equal(rows.inputs[0], (X - [0, 1, 2, 3]) / [1, 2, 4, 8])


def test_test_rows_under_other_names_or_held_out(tmp_path, kind):
    read = save(kind, tmp_path, {"x": X, "y": Y, "x2": X[:2], "y2": Y[:2]})
    assert len(read(test_inputs="x2", test_targets="y2").test) == 2
    data = read(test_fraction=0.5, split_seed=1)
    assert len(data.train) + len(data.test) == 6
    for rows in (data.train, data.test):  # inputs and targets stay together
        np.testing.assert_array_equal(rows.targets[0], rows.inputs[0][:, 0] / 4 % 3)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_test_rows_from_a_file_of_their_own(tmp_path, kind):
    read = save(kind, tmp_path, {"x": X, "y": Y})
    (tmp_path / "other").mkdir()
    save(kind, tmp_path / "other", {"x": X[3:], "y": Y[3:]})
    np.testing.assert_array_equal(read(test_path=tmp_path / "other" / f"arrays.{kind}").test.inputs[0], X[3:])


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"y": Y - 1}, {}, "must hold class numbers from 0, found -1"),
        ({"y": Y.astype(np.float32)}, {}, "must hold class numbers, found float32; .* task='regression'"),
        ({"x": np.where(X == 5, np.nan, X)}, {}, r"inputs\[0\] must be finite"),
        ({"x": X.astype(np.float64) * 1e300}, {}, "must fit float32, found larger numbers; declare a scale"),
        ({"x": X}, {"scale": 1e-42}, r"must be finite"),
        ({"x": X[:5]}, {}, r"one number of rows, at least 1, found \[5, 6\]"),
        ({"x": X[:0], "y": Y[:0]}, {}, "at least 1"),
        ({}, {"task": "ranking"}, "task must be"),
        ({}, {"scale": "minmax"}, "scale must be a finite number, .* no epsilon here pays for"),
        ({}, {"scale": 0}, "scale must not be 0"),
        ({}, {"scale": [1, 2, 0, 1]}, "scale must not be 0"),
        ({}, {"offset": [1, 2]}, r"offset must be one number, .* found 2 numbers for rows of shape \(4,\)"),
        ({"x": X[:, 0]}, {"scale": [1] * 6}, r"found 6 numbers for rows of shape \(\)"),
        ({}, {"test_fraction": 0.5}, "found both"),
    ],
)
def test_refused_in_one_line(tmp_path, kind, arrays, options, message):
    read = whole(kind, tmp_path, **arrays)
    with pytest.raises(DataFileError, match=message) as refusal:
        read(**options)
    assert "\n" not in str(refusal.value)


def test_too_large_for_int64(tmp_path, kind):
    with pytest.raises(DataFileError, match=r"must fit int64, found 18446744073709551615"):
        whole(kind, tmp_path, x=np.full((6, 2), 2**64 - 1, dtype=np.uint64))()


def test_one_place_of_test_rows(tmp_path, kind):
    read = save(kind, tmp_path, {"x": X, "y": Y})
    with pytest.raises(DataFileError, match="found neither"):
        read()


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_name_that_is_not_there(tmp_path, kind):
    read = save(kind, tmp_path, {"x": X, "y": Y})
    with pytest.raises(DataFileError, match=f"arrays.{kind} must hold an array 'z', found x, y"):
        read(inputs="z", test_fraction=0.5)


def test_npy_wants_test_inputs_and_targets_together(tmp_path):
    read = save("npy", tmp_path, {"x": X, "y": Y})
    with pytest.raises(DataFileError, match="must be given together"):
        read(test_inputs="x")


def test_npy_maps_the_file_and_never_writes_to_it(tmp_path):
    read = save("npy", tmp_path, {"x": X, "y": Y})
    inputs = read(test_inputs="x", test_targets="y").train.inputs[0]
    assert isinstance(inputs.base, np.memmap)
    inputs[0, 0] = 99
    assert np.load(tmp_path / "x.npy")[0, 0] == 0


class Evil:
    """A pickle that would run code."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickles_are_never_loaded(tmp_path):
    array = np.array([Evil()] * 6, dtype=object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.save(tmp_path / "y.npy", Y)
    np.savez(tmp_path / "a.npz", x=array, y=Y)
    with pytest.raises(DataFileError, match=r"x.npy must be whole, found: .*Python objects"):
        npy(tmp_path / "x.npy", tmp_path / "y.npy", test_fraction=0.5)
    with pytest.raises(DataFileError, match=r"a.npz must be whole, found: .*allow_pickle"):
        npz(tmp_path / "a.npz", inputs="x", targets="y", test_fraction=0.5)


def test_text_and_complex_numbers_are_refused(tmp_path, kind):
    if kind == "safetensors":
        pytest.skip("the format has no text")
    for array in (np.array(["a"] * 6), X.astype(np.complex64)):
        with pytest.raises(DataFileError, match="must hold numbers, found"):
            whole(kind, tmp_path, x=array)()
    with pytest.raises(DataFileError, match="must hold numbers, found"):
        whole(kind, tmp_path, x=X, y=np.array(["a"] * 6))(task="regression")


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "other", "folder"])
def test_damaged_files_are_refused_by_name(tmp_path, kind, damage):
    save(kind, tmp_path, {"x": X, "y": Y})
    path = tmp_path / ("x.npy" if kind == "npy" else f"arrays.{kind}")
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "absent":
        path.write_bytes(
            {"empty": b"", "cut": content[: len(content) // 2], "other": b"<!doctype html>"}[damage]
        )
    read = {
        "npy": lambda: npy(path, tmp_path / "y.npy", test_fraction=0.5),
        "npz": lambda: npz(path, inputs="x", targets="y", test_fraction=0.5),
        "safetensors": lambda: safetensors(path, inputs="x", targets="y", test_fraction=0.5),
    }[kind]
    with pytest.raises(DataFileError, match=path.name) as refusal:
        read()
    assert "\n" not in str(refusal.value)


def test_one_reader_names_the_other(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "a.npz", x=X)
    with pytest.raises(DataFileError, match="read it with npz"):
        npy(tmp_path / "a.npz", tmp_path / "x.npy", test_fraction=0.5)
    with pytest.raises(DataFileError, match=r"read \.npy with npy"):
        npz(tmp_path / "x.npy", inputs="x", targets="y", test_fraction=0.5)


def test_bfloat16_is_read_exactly_and_other_floats_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    tiny = values.to(torch.float8_e4m3fn)
    save_tensors({"a": torch.zeros(5), "x": values, "x8": tiny, "y": torch.from_numpy(Y)}, path)
    data = safetensors(path, inputs="x", targets="y", test_inputs="x")
    np.testing.assert_array_equal(data.train.inputs[0], values.float().numpy())
    with pytest.raises(DataFileError, match=r"x8 of .* found F8_E4M3; save it as F32"):
        safetensors(path, inputs="x8", targets="y", test_inputs="x8")


def test_a_header_that_points_outside_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"x": {"dtype": "BF16", "shape": [6], "data_offsets": [0, 12]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(DataFileError, match=r"a.safetensors must be whole"):
        safetensors(path, inputs="x", targets="x", test_fraction=0.5)


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match="needs the package safetensors, found none"):
        safetensors(tmp_path / "a", inputs="x", targets="y", test_fraction=0.5)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), elements=FINITE))
def test_what_was_written_is_read(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("arrays")
    for kind in ("npy", "npz", "safetensors"):
        rows = whole(kind, folder, x=array, y=np.zeros(len(array), dtype=np.int64))()
        np.testing.assert_array_equal(rows.inputs[0], array)
