"""A digit, and small models that it is put through."""

import pytest
import torch
from torch import nn

from clifftop.audit.inversion import AttackedModel
from clifftop.criteria import cross_entropy

# The first image of scikit-learn's digits (public), a zero; pixels from 0 to 16.
DIGIT = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


@pytest.fixture(scope="session")
def digit():
    return torch.tensor(DIGIT, dtype=torch.float64)[None, None] / 16


@pytest.fixture(scope="session")
def digits(digit):
    """Twelve images: the digit moved, turned and mirrored, so that all differ."""
    base = [digit, digit.mT, digit.flip(-1).roll(1, -1), digit.roll((1, 2), (-2, -1))]
    return torch.cat([image * scale for scale in (1.0, 0.8, 0.6) for image in base])


@pytest.fixture(scope="session")
def attacked():
    """Makes a model of the parts given, in float64, the same each time."""

    def make(*parts, num_classes=10, shape=(1, 8, 8), criterion=cross_entropy):
        torch.manual_seed(0)
        for part in parts:
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        module = nn.Sequential(*parts).double()
        return AttackedModel(module=module, criterion=criterion, input_shape=shape, num_classes=num_classes)

    return make


@pytest.fixture(scope="session")
def mlp(attacked):
    return attacked(nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10))


@pytest.fixture(scope="session")
def convolution(attacked):
    return attacked(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(384, 10))
