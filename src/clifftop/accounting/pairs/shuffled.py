r"""What one shuffled epoch shows of an example at least: the largest of its M outputs along one direction.

Let all other examples contribute ``-e`` (unit vectors) and the differing one ``e``. Every batch of B then
sums to ``-B e``, but for the one of the differing example, which is ``a`` larger: 2 for ``e``, 1 for an
example that is zeroed out, 0 for ``-e``; which of the M batches it is, is uniform. In units of sigma the
outputs are ``N(a e_J, I_M)``. Their largest coordinate T has the distribution function ``Phi(t)^{M-1} Phi(t
- a)``. To look at T alone, and at T rounded to cells, is post-processing, so every delta of the epoch is at
least that of the cells' masses. (The pair is that of Chua, Ghazi, Kamath, Kumar, Manurangsi, Sinha and Zhang
2024, "How private are DP-SGD implementations?", arXiv 2403.17673, and the event ``T > t`` theirs; all cells
together tell more, and compose over epochs that are shuffled anew.)
"""

from __future__ import annotations

import functools

import numpy as np

from clifftop.accounting.pairs.base import Array
from clifftop.accounting.pairs.table import TablePair

CELLS = 1 << 12
REACH = 12.0
MARGIN = 1e-9
"""Masses are good to far better than this: they are products of distribution values good to 1e-13 each,
raised to the power M, which is at most 1e6 (`MOST_BATCHES`)."""
MOST_BATCHES = 10**6
LEAST_LOG = -600.0


@functools.lru_cache(maxsize=64)
def largest_output(*, num_batches: int, p_shift: float, q_shift: float) -> TablePair:
    """The cells of T where the differing batch is ``p_shift`` (``q_shift``) sigmas larger under P (Q).

    Masses under P are rounded down and losses too, so that its deltas are at most those of T.
    """
    edges = np.linspace(-REACH, REACH + max(p_shift, q_shift), CELLS + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    log_p, log_q = (_log_masses(edges, num_batches, shift) for shift in (p_shift, q_shift))
    kept = log_p > LEAST_LOG
    # Where Q has less, more is put down: the loss is smaller then, and with it every delta.
    losses = log_p[kept] - np.maximum(log_q[kept], LEAST_LOG) - 2.0 * MARGIN
    order = np.argsort(losses)
    losses = losses[order]
    p = np.exp(log_p[kept][order]) * (1.0 - MARGIN)
    return TablePair(losses=losses, p=p, q=p * np.exp(-losses), relative_error=1e-13)


def _log_masses(edges: Array, count: int, shift: float) -> Array:
    """The log masses of cells of T, each good to a relative `MARGIN`.

    Between s < t the mass is ``F(t) - F(s)``, ``F = Phi^{M-1} Phi(. - a)``. Written as ``F(t) (1 - e^{ln
    F(s) - ln F(t)})``, the difference of logarithms is ``(M - 1) ln(Phi(s)/Phi(t))`` and its like, each the
    log1p of a normal mass over a distribution value: nothing cancels.
    """
    from scipy import special  # takes longer to import than all else here

    from clifftop.accounting.pairs.normal import normal_mass

    low, high = edges[:-1], edges[1:]
    total = np.zeros_like(low)
    fall = np.zeros_like(low)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for power, mean in ((count - 1, 0.0), (1, shift)):
            if power == 0:
                continue
            log_high = special.log_ndtr(high - mean)
            share = np.minimum(normal_mass(low, high, mean) * np.exp(-np.maximum(log_high, -700.0)), 1.0)
            total += power * log_high
            fall += power * np.log1p(-share)
        return total + np.log(-np.expm1(fall))
