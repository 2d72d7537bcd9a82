"""The same training, accounted for two ways of making batches: only one of them is amplified."""

import math

from clifftop.accounting import epsilon
from clifftop.events import FixedOrder, Gaussian, NeighboringRelation, PoissonSampled, SelfComposed

DELTA = 1e-5


def up(value: float) -> str:
    """Three decimals, rounded up: what is printed may be claimed."""
    return f"{math.ceil(value * 1000) / 1000:.3f}"


for sigma in (0.5, 1.0, 2.0):
    release = Gaussian(sigma)
    poisson = epsilon(
        SelfComposed(PoissonSampled(64 / 400, release), 140),
        delta=DELTA,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )
    fixed_order = epsilon(
        FixedOrder(release, 20), delta=DELTA, neighboring_relation=NeighboringRelation.ZERO_OUT
    )
    print(f"sigma {sigma}: Poisson {up(poisson.upper)}, fixed order {up(fixed_order.upper)}")
