"""The clusters are the study's, draw for draw, and bad arguments end in one line."""

import hashlib

import numpy as np
import pytest

from clifftop.datasets import ArrayDataset, gaussian_clusters

# sha256 of the four arrays, inputs in ten-thousandths (a last bit may differ between C libraries).
FROZEN = {
    42: "91432cfb98b889bef502077641cba22e401279502e9b718070a41231426bc3e3",
    123: "dfa700af297462047c2e96fdbe021c75a959f27c37146ad140676f99161b66a4",
    456: "79d3368b04b1693e5f9c132e4472499e11c28f20a594f3b2555ff35d8de3dfd1",
}


def checksum(data: ArrayDataset) -> str:
    digest = hashlib.sha256()
    for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        digest.update(np.rint(inputs.astype(np.float64) * 1e4).astype("<i8").tobytes())
        digest.update(targets.astype("<i8").tobytes())
    return digest.hexdigest()


def as_the_study_writes_it(seed: int) -> ArrayDataset:
    """The procedure once more, in the words of the study and with plain loops."""
    rng = np.random.RandomState(seed)
    centres = rng.randn(5, 10) * 3.0
    rows, labels = [], []
    for label in range(5):
        rows.extend(rng.randn(100, 10) * 1.5 + centres[label])
        labels.extend([label] * 100)
    order = rng.permutation(500)
    inputs, targets = np.array(rows)[order], np.array(labels, dtype=np.int64)[order]
    mean, std = inputs[:400].mean(axis=0), inputs[:400].std(axis=0)
    inputs = ((inputs - mean) / (std + 1e-8)).astype(np.float32)
    return ArrayDataset(
        train_inputs=inputs[:400],
        train_targets=targets[:400],
        test_inputs=inputs[400:],
        test_targets=targets[400:],
    )


@pytest.mark.parametrize("seed", [42, 123, 456])
def test_a_seed_names_one_data_set(seed):
    assert checksum(gaussian_clusters(seed)) == FROZEN[seed]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_equals_the_procedure_of_the_study(seed):
    ours, theirs = gaussian_clusters(seed), as_the_study_writes_it(seed)
    np.testing.assert_array_equal(ours.train_inputs, theirs.train_inputs)
    np.testing.assert_array_equal(ours.train_targets, theirs.train_targets)
    np.testing.assert_array_equal(ours.test_inputs, theirs.test_inputs)
    np.testing.assert_array_equal(ours.test_targets, theirs.test_targets)


def test_every_class_has_its_rows():
    data = gaussian_clusters(3, num_classes=4, per_class=25, num_features=2, num_train=70)
    targets = np.concatenate([data.train_targets, data.test_targets])
    assert np.bincount(targets).tolist() == [25, 25, 25, 25]
    assert data.train_inputs.shape == (70, 2)
    assert data.num_test == 30


def test_normalising_uses_the_train_rows_alone():
    data = gaussian_clusters(5)
    np.testing.assert_allclose(data.train_inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train_inputs.std(axis=0), 1, rtol=1e-5)
    assert abs(data.test_inputs.mean(axis=0)).max() > 1e-3


def test_without_normalising_a_row_depends_on_no_other_row():
    few = gaussian_clusters(5, normalise=False, num_train=100)
    many = gaussian_clusters(5, normalise=False, num_train=400)
    np.testing.assert_array_equal(few.train_inputs, many.train_inputs[:100])
    normalised_few = gaussian_clusters(5, num_train=100)
    assert not np.array_equal(normalised_few.train_inputs, gaussian_clusters(5).train_inputs[:100])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"seed must be between .*found seed=-1"),
        ({"seed": 2**32}, r"seed must be between"),
        ({"seed": 0, "num_classes": 0}, r"num_classes must be at least 1, found num_classes=0"),
        ({"seed": 0, "per_class": 0}, r"per_class must be at least 1"),
        ({"seed": 0, "num_features": -3}, r"num_features must be at least 1"),
        ({"seed": 0, "spread": 0.0}, r"spread must be finite and > 0, found spread=0.0"),
        ({"seed": 0, "scale": float("nan")}, r"scale must be finite and > 0"),
        ({"seed": 0, "num_train": 500}, r"num_train must be at least 1 and leave a test row of 500"),
        ({"seed": 0, "num_train": 0}, r"num_train must be at least 1"),
    ],
)
def test_refuses_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as refusal:
        gaussian_clusters(**arguments)
    assert "\n" not in str(refusal.value)
