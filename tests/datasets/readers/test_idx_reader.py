"""Four IDX files become rows, or are refused by name."""

import gzip
import struct

import numpy as np
import pytest

from clifftop.datasets import fashion_mnist
from clifftop.datasets.fashion_mnist import DEBIAN_FOLDER
from clifftop.datasets.readers import idx

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (6, 4, 5)),
        "train_labels": np.arange(6) % 3,
        "test_images": rng.integers(0, 256, (2, 4, 5)),
        "test_labels": np.array([2, 0]),
    }


def write(folder, arrays):
    for key, array in arrays.items():
        (folder / NAMES[key]).write_bytes(idx_bytes(array))
    return folder


def test_pixels_are_scaled_by_the_declared_constants(tmp_path, arrays):
    data = idx(write(tmp_path, arrays), offset=127.5, scale=127.5)
    assert data.train.inputs[0].shape == (6, 1, 4, 5)
    expected = (arrays["test_images"] - 127.5) / 127.5
    np.testing.assert_allclose(data.test.inputs[0][:, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(data.train.targets[0], arrays["train_labels"])
    assert data.train.targets[0].dtype == np.int64


def test_gzip_with_and_without_its_suffix_and_other_names(tmp_path, arrays):
    plain = idx(write(tmp_path, arrays))
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        path = tmp_path / name
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (tmp_path / NAMES["train_labels"]).rename(tmp_path / "classes")
    again = idx(str(tmp_path), train_labels="classes")
    for rows, other in ((plain.train, again.train), (plain.test, again.test)):
        np.testing.assert_array_equal(rows.inputs[0], other.inputs[0])
        np.testing.assert_array_equal(rows.targets[0], other.targets[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": np.zeros(5)}, "train-labels-idx1-ubyte must hold a label for each of 6 images"),
        ({"train_images": np.zeros((0, 4, 5)), "train_labels": np.zeros(0)}, "at least one, found 0"),
        ({"test_images": np.zeros((2, 5, 4))}, "train and test rows must have one form"),
        ({"test_images": np.zeros(2)}, "t10k-images-idx3-ubyte must start with the IDX magic number"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, arrays, change, message):
    with pytest.raises(ValueError, match=message) as refusal:
        idx(write(tmp_path, arrays | change))
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_images": "none"}, "none must exist, found no such file; name the files with train_images"),
        ({"scale": "standard"}, "scale must be a finite number, .* no epsilon here pays for"),
        ({"scale": 0}, "scale must not be 0"),
        ({"offset": float("nan")}, "offset must be a finite number"),
    ],
)
def test_bad_options_are_refused(tmp_path, arrays, options, message):
    with pytest.raises(ValueError, match=message):
        idx(write(tmp_path, arrays), **options)


@pytest.mark.data
def test_the_real_files():
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    small = {"train_images": NAMES["test_images"], "train_labels": NAMES["test_labels"]}
    ours = idx(DEBIAN_FOLDER, offset=0.2860 * 255, scale=0.3530 * 255, **small).test
    known = fashion_mnist(num_train=10)
    np.testing.assert_allclose(ours.inputs[0], known.test_inputs, atol=1e-5)
    np.testing.assert_array_equal(ours.targets[0], known.test_targets)
