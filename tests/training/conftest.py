"""One small run that every test of the trainer varies."""

import pytest
import torch
from torch import nn

from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson
from clifftop.training import Trainer


def small_model(*, dropout: float = 0.2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def small_data() -> tuple[torch.Tensor, torch.Tensor]:
    data = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    return data, data[:, :3].argmax(1)


def small_plan(*, sigma: float = 1.0, clip: float = 1.0, prob: float = 0.3) -> PrivacyPlan:
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=prob),
        clipping=Flat(clip_norm=clip),
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=60 * prob,
    )


@pytest.fixture
def make():
    """A trainer; keyword arguments replace its parts, and ``optimizer`` may be a function of the model."""

    def build(*, sigma: float = 1.0, clip: float = 1.0, prob: float = 0.3, **changes) -> Trainer:
        data, targets = small_data()
        model = changes.pop("module", None) or small_model()
        optimizer = changes.pop("optimizer", lambda model: torch.optim.Adam(model.parameters(), lr=0.02))
        if callable(optimizer) and not isinstance(optimizer, torch.optim.Optimizer):
            optimizer = optimizer(model)
        parts = {
            "module": model,
            "criterion": cross_entropy,
            "optimizer": optimizer,
            "plan": small_plan(sigma=sigma, clip=clip, prob=prob),
            "inputs": () if "dataset" in changes else (data,),
            "targets": () if "dataset" in changes else (targets,),
            "seed": 0,
        }
        return Trainer(**(parts | changes))

    return build


@pytest.fixture
def flat():
    """All parameters of a trainer's module in one row."""
    return lambda trainer: torch.cat([p.detach().flatten() for p in trainer.module.parameters()])
