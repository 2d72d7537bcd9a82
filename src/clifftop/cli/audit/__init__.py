"""`clifftop audit`: measure what a training does and leaks, beside what it claims."""

from __future__ import annotations

from cyclopts import App

from clifftop.cli.audit.accountant import accountant
from clifftop.cli.audit.guard import guarded
from clifftop.cli.audit.model import model
from clifftop.cli.audit.run import run
from clifftop.cli.audit.step import step
from clifftop.cli.audit.training import training

audit = App(
    name="audit",
    help="Measure what a training does and leaks, beside what it claims. A refuted claim ends with 1; bad "
    "input, and code that cannot be audited, with 2.",
)
for _command in (step, training, run, model, accountant):
    audit.command(guarded(_command))

__all__ = ["audit"]
