"""Rows are checked once, and kept without a copy wherever torch could share them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clifftop.datasets import ArrayDataset, Rows, RowsDataset
from clifftop.datasets.base import ROW_DTYPES, all_finite

X, Y = np.zeros((4, 3), dtype=np.float32), np.array([0, 1, 2, 1])


@pytest.mark.parametrize("dtype", ROW_DTYPES)
def test_every_dtype_is_kept_without_a_copy(dtype):
    array = np.ones((4, 2), dtype=dtype)
    rows = Rows(inputs=(array, X), targets=(Y, array))
    assert rows.inputs[0] is array
    assert rows.targets[1] is array
    assert len(rows) == 4


@pytest.mark.parametrize("array", [np.broadcast_to(X[:1], (4, 3)), X[::-1]])
def test_what_torch_could_not_share_is_copied(array):
    kept = Rows(inputs=(array,), targets=(Y,)).inputs[0]
    np.testing.assert_array_equal(kept, array)
    assert kept.flags.writeable
    assert min(kept.strides) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ()}, "inputs must be a tuple of one array or more"),
        ({"targets": Y}, "targets must be a tuple of one array or more, found ndarray"),
        (
            {"inputs": ([1, 2, 3, 4],)},
            r"inputs\[0\] must be an array with rows on its first axis, found list",
        ),
        ({"inputs": (np.float32(1),)}, "found float32"),
        ({"inputs": (X, X.astype(np.float16))}, r"inputs\[1\] must be float32, .* found float16"),
        ({"targets": (Y.astype(np.int32),)}, "found int32"),
        ({"inputs": (X.astype(">f4"),)}, "found >f4"),
        ({"inputs": (X[:3],)}, r"one number of rows, at least 1, found \[3, 4\]"),
        ({"inputs": (X[:0],), "targets": (Y[:0],)}, r"at least 1, found \[0, 0\]"),
        ({"inputs": (np.array([0, 1, np.nan, 2]),)}, r"inputs\[0\] must be finite"),
        ({"targets": (np.array([0, 1, -np.inf, 2]),)}, r"targets\[0\] must be finite"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message) as refusal:
        Rows(**({"inputs": (X,), "targets": (Y,)} | change))
    assert "\n" not in str(refusal.value)


FLOATS = st.one_of(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38]), st.floats(width=32))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=6), elements=FLOATS))
def test_all_finite_is_every_element_finite(array):
    assert all_finite(array) == bool(np.isfinite(array).all())


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (Rows(inputs=(X[:, :2],), targets=(Y,)), r"inputs float32\[3\] for train and float32\[2\] for test"),
        (Rows(inputs=(X.astype(np.float64),), targets=(Y,)), r"float64\[3\] for test"),
        (Rows(inputs=(X,), targets=(Y, Y)), r"targets int64\[\] for train and int64\[\], int64\[\] for test"),
    ],
)
def test_train_and_test_rows_have_one_form(test, message):
    with pytest.raises(ValueError, match=message):
        RowsDataset(train=Rows(inputs=(X,), targets=(Y,)), test=test)


def test_an_array_dataset_is_train_and_test_rows():
    data = ArrayDataset(train_inputs=X, train_targets=Y, test_inputs=X[:2], test_targets=Y[:2])
    assert data.train.inputs[0] is X
    assert data.train.targets[0] is Y
    assert len(data.test) == 2
    assert data.train is data.train
