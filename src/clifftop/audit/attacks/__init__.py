"""Membership attacks on trained models, and what a claim permits them (no torch).

`Observations` hold what M models say of N records; `attack_models` runs the attacks (`LiraOnline` first),
draws their curves with intervals beside the most that the claim permits, and tests the claim on targets that
nothing was chosen by.
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
    RmiaOffline,
    RmiaOnline,
    ShadowClassifier,
)
from clifftop.audit.attacks.observations import Observations, log_odds, observations_of
from clifftop.audit.attacks.permitted import above, permitted_by_epsilon, permitted_by_event
from clifftop.audit.attacks.report import AttackReport, attack_models
from clifftop.audit.attacks.targets import HeldOut, curve_from_targets, epsilon_from_targets

__all__ = [
    "ALL",
    "AttackReport",
    "CalibratedLabel",
    "CalibratedLoss",
    "HeldOut",
    "LabelOnly",
    "LiraOffline",
    "LiraOnline",
    "LossThreshold",
    "MembershipAttack",
    "MembershipCurve",
    "Observations",
    "Rate",
    "RmiaOffline",
    "RmiaOnline",
    "ShadowClassifier",
    "above",
    "attack_models",
    "curve_from_targets",
    "epsilon_from_targets",
    "log_odds",
    "membership_curve",
    "observations_of",
    "permitted_by_epsilon",
    "permitted_by_event",
]
