"""Audits: what a training leaks, measured, beside what it claims.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.audit.accounts import check_accountant
    from clifftop.audit.assertion import LeaksMore, assert_private
    from clifftop.audit.document import AuditDocument, load_audits
    from clifftop.audit.runs import TrainingReport, audit_training
    from clifftop.audit.steps import StepReport, check_step
    from clifftop.audit.trainings import check_training

__getattr__ = names_from(
    __name__,
    {
        "AuditDocument": "document",
        "LeaksMore": "assertion",
        "StepReport": "steps",
        "TrainingReport": "runs",
        "assert_private": "assertion",
        "audit_training": "runs",
        "check_accountant": "accounts",
        "check_step": "steps",
        "check_training": "trainings",
        "load_audits": "document",
    },
)

__all__ = [
    "AuditDocument",
    "LeaksMore",
    "StepReport",
    "TrainingReport",
    "assert_private",
    "audit_training",
    "check_accountant",
    "check_step",
    "check_training",
    "load_audits",
]
