"""Public data that another package brings along: read as it is, or the package is named."""

import sys
import types

import numpy as np
import pytest

from clifftop.datasets.readers import DataFileError, scikit_learn


@pytest.fixture
def stand_in(monkeypatch):
    """What the package's loaders return, in miniature: float64 inputs, int64 or float64 targets."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 17, (50, 4)).astype(np.float64)
    datasets = types.ModuleType("sklearn.datasets")
    datasets.load_digits = lambda *, return_X_y: (inputs, np.arange(50) % 10)
    datasets.load_diabetes = lambda *, return_X_y: (inputs, inputs[:, 0] * 3)
    package = types.ModuleType("sklearn")
    package.datasets = datasets
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    return inputs


def test_digits(stand_in):
    data = scikit_learn("digits", test_fraction=0.3, scale=16)
    rows = np.concatenate([data.train.inputs[0], data.test.inputs[0]])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(stand_in / 16, axis=0))
    assert data.train.targets[0].dtype == np.int64


def test_regression_and_a_scale_for_each_feature(stand_in):
    data = scikit_learn(
        "diabetes", test_fraction=0.3, task="regression", scale=[1, 2, 4, 8], offset=[1, 0, 0, 0]
    )
    np.testing.assert_allclose(data.test.targets[0], (data.test.inputs[0][:, 0] + 1) * 3, rtol=1e-6)
    assert data.train.inputs[0][:, 3].max() <= 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {}, "name must be one of breast_cancer, .* found name='mnist'"),
        (
            "digits",
            {"scale": [1, 2]},
            "scale must be one number, .* found 2 numbers for rows",
        ),
        ("digits", {"scale": [1, 2, 3, "std"]}, "scale must be a finite number"),
        ("diabetes", {}, "scikit-learn's diabetes must hold class numbers, found float64"),
        ("digits", {"test_fraction": 1}, "test_fraction must lie between 0 and 1"),
    ],
)
def test_refused_in_one_line(stand_in, name, options, message):
    with pytest.raises(DataFileError, match=message) as refusal:
        scikit_learn(name, **({"test_fraction": 0.5} | options))
    assert "\n" not in str(refusal.value)


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(
        ModuleNotFoundError, match="needs the package scikit-learn, found none; run: pip install"
    ):
        scikit_learn("digits", test_fraction=0.5)


def test_the_real_package_if_it_is_there():
    pytest.importorskip("sklearn")
    data = scikit_learn("digits", test_fraction=0.2, scale=16)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.inputs[0].shape[1:] == (64,)
    assert data.train.inputs[0].max() == 1
