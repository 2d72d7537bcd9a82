"""Audits: what a training leaks, measured, beside what it claims.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.audit.assertion import LeaksMore, assert_private
    from clifftop.audit.steps import StepReport, check_step

__getattr__ = names_from(
    __name__,
    {
        "LeaksMore": "assertion",
        "StepReport": "steps",
        "assert_private": "assertion",
        "check_step": "steps",
    },
)

__all__ = ["LeaksMore", "StepReport", "assert_private", "check_step"]
