"""A data set that does not fit together is refused when it is made."""

import numpy as np
import pytest

from clifftop.datasets import ArrayDataset

GOOD = {
    "train_inputs": np.zeros((4, 3), dtype=np.float32),
    "train_targets": np.array([0, 1, 2, 1]),
    "test_inputs": np.ones((2, 3), dtype=np.float32),
    "test_targets": np.array([0, 3]),
}


def test_counts():
    data = ArrayDataset(**GOOD)
    assert (data.num_train, data.num_test, data.num_classes) == (4, 2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_inputs": np.zeros((4, 3))}, "train_inputs must be float32"),
        ({"test_targets": np.array([0, 1], dtype=np.int32)}, "test_targets int64"),
        ({"train_inputs": np.zeros((5, 3), dtype=np.float32)}, "train_inputs must be"),
        ({"train_inputs": np.zeros(4, dtype=np.float32)}, "train_inputs must be"),
        ({"test_inputs": np.zeros((2, 4), dtype=np.float32)}, "one shape"),
        ({"test_targets": np.array([0, -1])}, "class numbers from 0"),
        ({"test_inputs": np.full((2, 3), np.nan, dtype=np.float32)}, "must be finite"),
        (
            {"test_inputs": np.zeros((0, 3), dtype=np.float32), "test_targets": np.zeros(0, dtype=np.int64)},
            "N >= 1",
        ),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message) as refusal:
        ArrayDataset(**(GOOD | change))
    assert "\n" not in str(refusal.value)
