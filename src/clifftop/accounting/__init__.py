"""What training costs in privacy: events in, certified intervals of epsilon out. Needs no torch.

`epsilon` and `delta` ask every accountant that knows the event and keep the best proven bounds. The
accountants can be asked one by one; each refuses an event that it does not know, by name.
"""

from clifftop.accounting.base import (
    Accountant,
    Bound,
    BoundsCross,
    Releases,
    UnsupportedEvent,
    flatten,
)
from clifftop.accounting.calibrate import calibrate_noise_multiplier
from clifftop.accounting.combined import delta, epsilon
from clifftop.accounting.gdp import GaussianDpAccountant
from clifftop.accounting.pld import PrivacyLossAccountant
from clifftop.accounting.rdp import RenyiAccountant

__all__ = [
    "Accountant",
    "Bound",
    "BoundsCross",
    "GaussianDpAccountant",
    "PrivacyLossAccountant",
    "Releases",
    "RenyiAccountant",
    "UnsupportedEvent",
    "calibrate_noise_multiplier",
    "delta",
    "epsilon",
    "flatten",
]
