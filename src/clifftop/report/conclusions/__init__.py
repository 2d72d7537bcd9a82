"""What a sweep shows, in sentences that are only as strong as its numbers.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from
from clifftop.report.conclusions.base import Conclusion, Kind

if TYPE_CHECKING:
    from clifftop.report.conclusions.family import conclude

__getattr__ = names_from(__name__, {"conclude": "family"})

__all__ = ["Conclusion", "Kind", "conclude"]
