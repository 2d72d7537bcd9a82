"""Checks of any accountant of Poisson-sampled Gaussian releases, against intervals that are proven.

No statistics and no torch: an answer below a certified lower end is below the truth. `check_accountant` asks
a few hundred settings, usual and extreme, in a second or so.
"""

from clifftop.audit.accounts.asking import Answer, DivergenceOf, EpsilonOf, NoiseOf
from clifftop.audit.accounts.checks import AccountantCheck, Calibrated
from clifftop.audit.accounts.run import ORDERS, AccountantReport, check_accountant
from clifftop.audit.accounts.settings import (
    Moment,
    Setting,
    Target,
    extreme_settings,
    usual_settings,
    usual_targets,
)

__all__ = [
    "ORDERS",
    "AccountantCheck",
    "AccountantReport",
    "Answer",
    "Calibrated",
    "DivergenceOf",
    "EpsilonOf",
    "Moment",
    "NoiseOf",
    "Setting",
    "Target",
    "check_accountant",
    "extreme_settings",
    "usual_settings",
    "usual_targets",
]
