"""`clifftop audit`: measure what a training does and leaks, beside what it claims."""

from __future__ import annotations

from cyclopts import App

from clifftop.cli.audit.accountant import accountant
from clifftop.cli.audit.model import model
from clifftop.cli.audit.run import run
from clifftop.cli.audit.step import step
from clifftop.cli.audit.training import training

audit = App(name="audit", help="Measure what a training does and leaks, beside what it claims.")
for _command in (step, training, run, model, accountant):
    audit.command(_command)

__all__ = ["audit"]
