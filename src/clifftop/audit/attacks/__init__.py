"""Membership attacks on trained models, and what a claim permits them (no torch).

`Observations` hold what M models say of N records; `attack_models` runs the attacks (`LiraOnline` first,
which the verdict goes by), draws their curves with intervals, and sets them beside the most that the claim
permits.
"""

from clifftop.audit.attacks.curves import MembershipCurve, Rate, membership_curve
from clifftop.audit.attacks.membership import (
    ALL,
    CalibratedLabel,
    CalibratedLoss,
    LabelOnly,
    LiraOffline,
    LiraOnline,
    LossThreshold,
    MembershipAttack,
    Rmia,
)
from clifftop.audit.attacks.observations import Observations, log_odds, observations_of
from clifftop.audit.attacks.permitted import (
    above,
    epsilon_from_targets,
    permitted_by_epsilon,
    permitted_by_event,
)
from clifftop.audit.attacks.report import AttackReport, attack_models

__all__ = [
    "ALL",
    "AttackReport",
    "CalibratedLabel",
    "CalibratedLoss",
    "LabelOnly",
    "LiraOffline",
    "LiraOnline",
    "LossThreshold",
    "MembershipAttack",
    "MembershipCurve",
    "Observations",
    "Rate",
    "Rmia",
    "above",
    "attack_models",
    "epsilon_from_targets",
    "log_odds",
    "membership_curve",
    "observations_of",
    "permitted_by_epsilon",
    "permitted_by_event",
]
