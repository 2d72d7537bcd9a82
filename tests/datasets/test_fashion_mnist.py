"""IDX files are read exactly, or refused by name with the remedy."""

import gzip
import struct

import numpy as np
import pytest

from clifftop.datasets import fashion_mnist
from clifftop.datasets.fashion_mnist import DEBIAN_FOLDER, MEAN, STD
from clifftop.datasets.idx import IdxError, read_idx

NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("t10k", "images"): "t10k-images-idx3-ubyte",
    ("t10k", "labels"): "t10k-labels-idx1-ubyte",
}


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        ("train", "images"): rng.integers(0, 256, (20, 28, 28)),
        ("train", "labels"): np.arange(20) % 10,
        ("t10k", "images"): rng.integers(0, 256, (10, 28, 28)),
        ("t10k", "labels"): np.arange(10)[::-1],
    }


@pytest.fixture
def folder(tmp_path, arrays):
    for key, array in arrays.items():
        (tmp_path / f"{NAMES[key]}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return tmp_path


def load(folder, **options):
    return fashion_mnist(**({"num_train": 20, "num_test": 10, "folder": folder} | options))


def test_reads_pixels_and_labels(folder, arrays):
    data = load(folder)
    assert data.train_inputs.shape == (20, 1, 28, 28)
    np.testing.assert_array_equal(data.train_targets, arrays["train", "labels"])
    np.testing.assert_array_equal(data.test_targets, arrays["t10k", "labels"])
    expected = (arrays["t10k", "images"] / 255 - MEAN) / STD
    np.testing.assert_allclose(data.test_inputs[:, 0], expected, atol=1e-6)


def test_a_part_keeps_image_and_label_together(folder, arrays):
    whole, part = load(folder), load(folder, num_train=7, seed=3)
    for image, label in zip(part.train_inputs, part.train_targets, strict=True):
        (row,) = np.flatnonzero((whole.train_inputs == image).all(axis=(1, 2, 3)))
        assert label == arrays["train", "labels"][row]


def test_a_seed_names_a_part(folder):
    first, again, other = (load(folder, num_train=7, seed=seed).train_inputs for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_plain_files_do_too(folder):
    zipped = load(folder)
    for path in list(folder.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(load(folder).train_inputs, zipped.train_inputs)


def damaged(kind, whole):
    zipped = gzip.compress(whole)
    return {
        "no bytes": b"",
        "not gzip, not IDX": b"<!doctype html>",
        "gzip cut short": zipped[: len(zipped) // 2],
        "gzip damaged": zipped[:-6] + bytes([zipped[-6] ^ 255]) + zipped[-5:],
        "other magic": gzip.compress(b"\0\0\x0d" + whole[3:]),
        "other axes": gzip.compress(b"\0\0\x08\x02" + whole[4:]),
        "header cut short": gzip.compress(whole[:6]),
        "one byte missing": gzip.compress(whole[:-1]),
        "one byte too many": gzip.compress(whole + b"\0"),
    }[kind]


@pytest.mark.parametrize("key", [("train", "images"), ("t10k", "labels")])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no bytes", "found nothing"),
        ("not gzip, not IDX", "found 3c21646f"),
        ("gzip cut short", "whole gzip data"),
        ("gzip damaged", "whole gzip data"),
        ("other magic", "magic number"),
        ("other axes", "magic number"),
        ("header cut short", "truncated"),
        ("one byte missing", "truncated"),
        ("one byte too many", "trailing bytes"),
    ],
)
def test_damage_is_refused_by_name_with_the_remedy(folder, arrays, key, kind, message):
    path = folder / f"{NAMES[key]}.gz"
    path.write_bytes(damaged(kind, idx_bytes(arrays[key])))
    with pytest.raises(IdxError, match=message) as refusal:
        load(folder)
    assert str(path) in str(refusal.value)
    assert "dataset-fashion-mnist" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_absent_file_is_named(folder):
    (folder / f"{NAMES['t10k', 'labels']}.gz").unlink()
    with pytest.raises(IdxError, match=r"t10k-labels-idx1-ubyte.gz must exist.*dataset-fashion-mnist"):
        load(folder)


def test_a_folder_in_place_of_a_file_is_refused(folder):
    path = folder / f"{NAMES['train', 'images']}.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(IdxError, match="must be readable"):
        load(folder)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        (("train", "images"), np.zeros((20, 27, 28)), r"images of 28 x 28, found \(27, 28\)"),
        (("train", "labels"), np.zeros(19), "a label for each of 20 images, found 19"),
        (("t10k", "labels"), np.full(10, 10), "labels below 10, found 10"),
    ],
)
def test_whole_files_that_do_not_fit_are_refused(folder, key, array, message):
    (folder / f"{NAMES[key]}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    with pytest.raises(IdxError, match=message):
        load(folder)


@pytest.mark.parametrize("options", [{"num_train": 21}, {"num_test": 0}, {"num_test": 11}])
def test_more_rows_than_there_are(folder, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be between 1 and the"):
        load(folder, **options)


def test_read_idx_keeps_row_major_order(tmp_path):
    array = np.arange(24).reshape(2, 3, 4)
    path = tmp_path / "some.idx"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path, ndim=3, remedy="-"), array)


@pytest.mark.data
def test_the_real_files():
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    data = fashion_mnist(num_train=6_000)
    assert data.train_inputs.shape == (6_000, 1, 28, 28)
    assert np.bincount(data.test_targets).tolist() == [1_000] * 10
    assert data.num_classes == 10
    assert data.train_inputs.mean() == pytest.approx(0, abs=0.02)
    assert data.train_inputs.std() == pytest.approx(1, abs=0.02)
