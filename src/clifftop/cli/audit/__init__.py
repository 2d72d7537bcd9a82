"""`clifftop audit`: measure what a training does and leaks, beside what it claims."""

from __future__ import annotations

from cyclopts import App

from clifftop.cli.audit.step import step

audit = App(name="audit", help="Measure what a training does and leaks, beside what it claims.")
for _command in (step,):
    audit.command(_command)

__all__ = ["audit"]
