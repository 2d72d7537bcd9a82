"""Made-up worlds in which it is known what any attack can reach."""

from types import SimpleNamespace

import numpy as np
import pytest

from clifftop.audit.attacks import Observations


def halves(rng, models, records):
    """Each model's own random half of the pool."""
    ranks = rng.random((models, records)).argsort(axis=1)
    return ranks < records // 2


def gaussian_world(*, models=64, records=200, shift=1.0, difficulty=2.0, seed=0):
    """Log-odds around each record's own difficulty, ``shift`` higher for members: d' = shift."""
    rng = np.random.default_rng(seed)
    member = halves(rng, models, records)
    centre = rng.normal(0.0, difficulty, records)
    return seen(centre[None] + rng.normal(size=member.shape) + shift * member, member)


def response_world(epsilon, *, models=64, records=200, seed=0):
    """Every model says of each record whether it is a member, by randomised response of exactly epsilon."""
    rng = np.random.default_rng(seed)
    member = halves(rng, models, records)
    honest = rng.random(member.shape) < np.exp(epsilon) / (1.0 + np.exp(epsilon))
    return seen(np.where(member == honest, 1.0, -1.0), member)


def telling_world(delta, *, models=128, records=100, seed=0):
    """With chance ``delta`` a model tells of all its records at once, else nothing: exactly (0, delta)."""
    rng = np.random.default_rng(seed)
    member = halves(rng, models, records)
    tells = rng.random((models, 1)) < delta
    return seen(np.where(tells, np.where(member, 5.0, -5.0), rng.normal(size=member.shape)), member)


def seen(confidences, member):
    return Observations(
        confidences=confidences,
        losses=np.logaddexp(0.0, -confidences),
        correct=confidences > 0,
        member=member,
    )


@pytest.fixture(scope="session")
def worlds():
    return SimpleNamespace(
        halves=halves, gaussian=gaussian_world, response=response_world, telling=telling_world, seen=seen
    )
