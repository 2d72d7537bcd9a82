"""Accountants by their short names."""

from __future__ import annotations

from clifftop.compat.opacus.accountants.accountant import (
    GaussianAccountant,
    IAccountant,
    PRVAccountant,
    RDPAccountant,
)

_KINDS: tuple[type[IAccountant], ...] = (PRVAccountant, RDPAccountant, GaussianAccountant)


def create_accountant(mechanism: str) -> IAccountant:
    """The accountant of that name: ``"prv"``, ``"rdp"`` or ``"gdp"``, which all compute the same.

    Raises:
        ValueError: there is none.

    >>> create_accountant("prv").get_epsilon(delta=1e-5)
    0.0
    """
    found = next((kind for kind in _KINDS if kind.mechanism() == mechanism), None)
    if found is None:
        raise ValueError(f"accountant must be one of prv, rdp and gdp, found accountant={mechanism!r}")
    return found()
