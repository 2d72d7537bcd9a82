r"""How often any reconstruction can succeed, whatever the attack and whatever else it knows.

Let Z be drawn from a prior, M released of the other examples and Z, and let an attacker who knows the prior,
the other examples and the model name a guess R of Z from the release. Success is ``rho(Z, R) <= r`` for a
distance of the caller's choice. With f the trade-off curve of M between "with" and "without" an example
(Balle, Cherubin and Hayes 2022, arXiv:2201.04845; Hayes, Mahloujifar and Balle 2023, arXiv:2302.07225),

    P(success) <= 1 - f(kappa),    kappa = max over guesses z of P(rho(Z, z) <= r).

Proof. Let ``E_z`` be the releases whose guess is a success for z, ``mu_z`` the release's law with z, ``nu``
that without. Then ``mu_z(E_z) <= 1 - f(nu(E_z))``, as ``E_z`` is a test of "without" against "with". As f
is convex, the mean over Z is at most ``1 - f(E nu(E_Z))``; and ``E nu(E_Z)`` is the chance that a guess made
from a release *without* Z succeeds, at most kappa, while f does not rise.

Where a relation replaces an example, "without" is "with any fixed one", and the same holds.

The accountant's curve enters with its certified upper end (`clifftop.accounting.views.TradeOff`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from clifftop.accounting.views import TradeOff, profile
from clifftop.events import DpEvent, NeighboringRelation

_ROUNDING = 1e-9


def reconstruction_bound(
    event: DpEvent, *, hit_probability: float, neighboring_relation: NeighboringRelation
) -> float:
    """The most that any attack succeeds with: ``1 - f(kappa)``, proven above.

    Holds for all that ``event`` stands for, a whole training too. The guess among n candidates, one of
    which was drawn evenly, has ``hit_probability = 1 / n``.

    Errors: ValueError for a probability outside [0, 1]; `clifftop.accounting.UnsupportedEvent`.

    >>> from clifftop.events import Gaussian
    >>> relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    >>> bound = reconstruction_bound(Gaussian(1.0), hit_probability=0.01, neighboring_relation=relation)
    >>> f"{bound:.4f}"  # Phi(Phi^-1(0.01) + 1)
    '0.0924'
    """
    curve = TradeOff(profile(event, neighboring_relation=neighboring_relation))
    return curve.true_positive_rate(hit_probability).upper


def hit_probability(pool: ArrayLike, *, radius: float) -> float:
    """An upper bound on kappa for a prior that draws evenly from ``pool``, ``(N, ...)``, in L2 distance.

    All rows within ``radius`` of one guess are within twice that of each of them, so no guess hits more rows
    than the largest such number.

    Errors: ValueError for an empty pool or a negative radius.

    >>> hit_probability([[0.0], [1.0], [5.0], [9.0]], radius=0.5)
    0.5
    """
    rows = np.asarray(pool, dtype=np.float64).reshape(len(np.asarray(pool)), -1)
    if rows.size == 0 or not radius >= 0:
        raise ValueError(
            f"a prior needs rows and a radius >= 0, found {len(rows)} rows and radius={radius}; give both"
        )
    largest, reach = 0, 2.0 * radius * (1.0 + _ROUNDING)
    for row in rows:
        largest = max(largest, int((np.linalg.norm(rows - row, axis=1) <= reach).sum()))
    return largest / len(rows)
