"""Drafts of conclusions, and which of them the data support."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import final

from clifftop.analysis.inference import Claim, stated
from clifftop.analysis.uncertainty import Estimate
from clifftop.report.conclusions.base import Conclusion

ALPHA = 0.05
"""The chance that any claim of a report is false, at most."""


@final
@dataclass(frozen=True, kw_only=True)
class Draft:
    """A conclusion, and the claims that it stands on.

    Attributes:
        conclusion: what to say where every claim holds.
        claims: what must be shown first; none for a measurement or a fact.
        otherwise: what to say where one of them does not hold; None says nothing. A draft there stands on
            claims of its own.
    """

    conclusion: Conclusion
    claims: tuple[Claim, ...] = ()
    otherwise: Draft | Conclusion | None = None

    @property
    def all_claims(self) -> tuple[Claim, ...]:
        """Its own, and those of the drafts behind it."""
        behind = self.otherwise.all_claims if isinstance(self.otherwise, Draft) else ()
        return (*self.claims, *behind)

    def said(self, supported: Set[int]) -> Conclusion | None:
        """What may be said where the claims with these identities hold."""
        if all(id(claim) in supported for claim in self.claims):
            return self.conclusion
        return self.otherwise.said(supported) if isinstance(self.otherwise, Draft) else self.otherwise


def decided(drafts: Sequence[Draft]) -> tuple[Conclusion, ...]:
    """What may be said: the claims of all drafts are judged as one family (Holm), at level `ALPHA`."""
    claims = {id(claim): claim for draft in drafts for claim in draft.all_claims}
    supported = set(map(id, stated(list(claims.values()), alpha=ALPHA)))
    chosen = (draft.said(supported) for draft in drafts)
    return tuple(conclusion for conclusion in chosen if conclusion is not None)


def above(
    kind: str, subject: Iterable[object], estimate: Estimate | None, *, than: float = 0.0
) -> Claim | None:
    """The claim that a mean lies above ``than``; None for one without an interval, which shows nothing."""
    if estimate is None or estimate.ci95 is None:
        return None
    return Claim(kind=kind, subject=tuple(subject), estimate=estimate, p_value=p_above(estimate, than))


def corrected(claim: Claim, looked_at: int) -> Claim:
    """The claim with its p-value times how many of its kind it was picked from (Bonferroni)."""
    return replace(claim, p_value=min(1.0, looked_at * claim.p_value))


def p_above(estimate: Estimate, than: float) -> float:
    """One-sided p-value of "the mean is at most ``than``", from the 95% t-interval.

    An interval without width comes from equal values: the sign test's p-value is all that they show.

    >>> p_above(Estimate(mean=0.2, std=0.1, n=5, ci95=(0.1, 0.3)), 0.0) < 0.01
    True
    >>> p_above(Estimate(mean=0.2, std=0.0, n=3, ci95=(0.2, 0.2)), 0.0)
    0.125
    """
    from scipy.special import stdtr, stdtrit

    assert estimate.ci95 is not None
    degrees = estimate.n - 1
    error = (estimate.mean - estimate.ci95[0]) / float(stdtrit(degrees, 0.975))
    if error <= 1e-9 * abs(estimate.mean - than):
        return 0.5**estimate.n if estimate.mean > than else 1.0
    if math.isnan(error) or error == 0:
        return 1.0
    return float(stdtr(degrees, -(estimate.mean - than) / error))
