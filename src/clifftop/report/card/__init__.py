"""Privacy cards: what may be released of a training, at what price, and how well that is supported.

Made from the run, following section 5.3 of "How to DP-fy ML" (Ponomareva et al. 2023) and NIST SP 800-226. A
card refuses by name what it cannot support. Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.report.card.base import SCHEMA_VERSION, Card, CardError, NotStated, Row, Section, Verdict
    from clifftop.report.card.from_sweep import privacy_card
    from clifftop.report.card.from_trainer import checkpoint_card, trainer_card
    from clifftop.report.card.from_tuning import tuned_card

__getattr__ = names_from(
    __name__,
    {
        "Card": "base",
        "CardError": "base",
        "NotStated": "base",
        "Row": "base",
        "SCHEMA_VERSION": "base",
        "Section": "base",
        "Verdict": "base",
        "checkpoint_card": "from_trainer",
        "privacy_card": "from_sweep",
        "trainer_card": "from_trainer",
        "tuned_card": "from_tuning",
    },
)

__all__ = [
    "SCHEMA_VERSION",
    "Card",
    "CardError",
    "NotStated",
    "Row",
    "Section",
    "Verdict",
    "checkpoint_card",
    "privacy_card",
    "trainer_card",
    "tuned_card",
]
