"""The audit of one real training: m canaries, a coin each, one run, several estimators side by side.

`OneRunAudit.planned` fixes coins and numbers of guesses before the run; its `run` trains once and reports.
Three kinds of canaries: `DiracCanaries` (gradients put in after clipping), `InputCanaries` (rows that go
through the real forward pass, backward pass and clipping) and `MislabelledRecords` (only the final model's
losses are seen).
"""

from clifftop.audit.one_run.audit import OneRunAudit
from clifftop.audit.one_run.black_box import MislabelledRecords, mislabelled
from clifftop.audit.one_run.inputs import InputCanaries
from clifftop.audit.one_run.protocol import CanaryKind, OneRunTraining
from clifftop.audit.one_run.report import OneRunReport
from clifftop.audit.one_run.white_box import DiracCanaries

__all__ = [
    "CanaryKind",
    "DiracCanaries",
    "InputCanaries",
    "MislabelledRecords",
    "OneRunAudit",
    "OneRunReport",
    "OneRunTraining",
    "mislabelled",
]
