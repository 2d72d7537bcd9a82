"""The audit of whole trainings from inside: many runs, canaries in each, every released sum looked at.

`audit_training` trains models with canaries (`TrainingUnderTest`; `ours` makes Clifftop's own), tests what
they release against the accountant's own trade-off curve, bounds epsilon from below, and checks the parts
that the claim is made of.
"""

from clifftop.audit.runs.audit import audit_training
from clifftop.audit.runs.claim import TrainingClaim
from clifftop.audit.runs.family import NoiseFamily
from clifftop.audit.runs.micro import MicroAudit
from clifftop.audit.runs.own import OwnTraining, canaries_alone, ours
from clifftop.audit.runs.power import PowerRow
from clifftop.audit.runs.protocol import Observed, TrainingUnderTest
from clifftop.audit.runs.report import TrainingReport
from clifftop.audit.runs.scores import log_likelihood_ratios

__all__ = [
    "MicroAudit",
    "NoiseFamily",
    "Observed",
    "OwnTraining",
    "PowerRow",
    "TrainingClaim",
    "TrainingReport",
    "TrainingUnderTest",
    "audit_training",
    "canaries_alone",
    "log_likelihood_ratios",
    "ours",
]
