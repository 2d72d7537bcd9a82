"""All accountants together: what those that know the event have proven between them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from clifftop.accounting.base import Accountant, Bound, UnsupportedEvent
from clifftop.accounting.gdp import GaussianDpAccountant
from clifftop.accounting.pld import PrivacyLossAccountant
from clifftop.accounting.rdp import RenyiAccountant
from clifftop.events import DpEvent, NeighboringRelation


def epsilon(event: DpEvent, *, delta: float, neighboring_relation: NeighboringRelation) -> Bound:
    """The least epsilon >= 0 for which ``event`` is (epsilon, delta)-private, between proven bounds.

    The least upper and the greatest lower bound of all accountants that know the event; exact up to
    rounding where only Gaussian releases compose. Report ``upper``.

    Errors: ValueError for a delta outside (0, 1); `UnsupportedEvent` if no accountant knows some part of
    the event; `BoundsCross` if two accountants contradict each other, which would be a defect.

    >>> from clifftop.events import Gaussian, PoissonSampled, SelfComposed
    >>> steps = SelfComposed(PoissonSampled(0.16, Gaussian(10.0)), 140)
    >>> bound = epsilon(steps, delta=1e-5, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    >>> f"{bound.upper:.4f}"
    '0.6940'
    """
    return _meet_all(neighboring_relation, lambda accountant: accountant.epsilon(event, delta=delta))


def delta(event: DpEvent, *, epsilon: float, neighboring_relation: NeighboringRelation) -> Bound:
    """The least delta for which ``event`` is (epsilon, delta)-private, between proven bounds.

    As `epsilon`, with the roles of epsilon and delta swapped; ``epsilon`` must be finite and >= 0.

    >>> from clifftop.events import Gaussian
    >>> bound = delta(Gaussian(1.0), epsilon=1.0, neighboring_relation=NeighboringRelation.ZERO_OUT)
    >>> f"{bound.upper:.6f}"
    '0.126937'
    """
    return _meet_all(neighboring_relation, lambda accountant: accountant.delta(event, epsilon=epsilon))


def _meet_all(neighboring_relation: NeighboringRelation, ask: Callable[[Accountant], Bound]) -> Bound:
    """What the accountants that answer have proven; if none does, the refusal of the most capable."""
    accountants: tuple[Accountant, ...] = (
        PrivacyLossAccountant(neighboring_relation),
        GaussianDpAccountant(neighboring_relation),
        RenyiAccountant(neighboring_relation),
    )
    bounds: list[Bound] = []
    refusals: list[UnsupportedEvent] = []
    for accountant in accountants:
        try:
            bounds.append(ask(accountant))
        except UnsupportedEvent as refusal:
            refusals.append(refusal)
    if not bounds:
        raise refusals[0]
    return functools.reduce(Bound.meet, bounds)
