"""Accountants under Opacus' names. All are one: Clifftop's, whose epsilon is a proven upper bound."""

from clifftop.compat.opacus.accountants.accountant import (
    GaussianAccountant,
    IAccountant,
    PRVAccountant,
    RDPAccountant,
)
from clifftop.compat.opacus.accountants.registry import create_accountant

__all__ = ["GaussianAccountant", "IAccountant", "PRVAccountant", "RDPAccountant", "create_accountant"]
