"""What the precision of a score comes from, and how many seeds a wanted precision takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from clifftop.analysis.inference.floors import rows_behind
from clifftop.analysis.uncertainty import t_half_width

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

MOST_SEEDS = 10**9


@final
@dataclass(frozen=True, kw_only=True)
class VarianceParts:
    """Where the variance of one run's score comes from; variances, in squared units of the score.

    Attributes:
        total: of the scores over seeds, as measured (``ddof = 1``).
        test_set: what finitely many test rows cause: the binomial ``p (1 - p) / M``, without bias.
        seeds: what remains for data, initialisation, batches and noise. Where test rows are drawn anew
            with every seed, ``total`` has both parts in it, so this is ``total - test_set``, or 0 where
            that is negative. Where all seeds share their rows, ``total`` shows nothing of the test set's
            error, so this is ``total``.
        redrawn: whether test rows are drawn anew with every seed.
        n: seeds.
        num_test: M.
    """

    total: float
    test_set: float
    seeds: float
    redrawn: bool
    n: int
    num_test: int

    def standard_error(self, n: int | None = None) -> float:
        """Standard error of the mean score over ``n`` seeds, as an estimate for rows not yet seen.

        Redrawn rows: ``sqrt(total / n)``. Shared rows: ``sqrt(seeds / n + test_set)``, an upper bound that
        no number of seeds brings below ``sqrt(test_set)``: only more test rows do.
        """
        count = self.n if n is None else n
        if self.redrawn:
            return math.sqrt(self.total / count)
        return math.sqrt(self.seeds / count + self.test_set)


def variance_parts(evidence: Evidence, cell: Cell, *, redrawn: bool = False) -> VarianceParts | None:
    """The test set's binomial error, apart from what else differs between seeds.

    None below two seeds, and where the metric is not a share of a known number of test rows. Differences of
    cells that are scored on the same rows have less of this error than two scores do: `paired_difference`
    measures theirs.

    Args:
        evidence: with ``num_test``.
        cell: one of its cells.
        redrawn: whether each seed draws its own test rows, as where the data set is made from the seed.
    """
    num_test, values = rows_behind(evidence, cell), evidence.values(cell)
    n = values.size
    if num_test is None or n < 2:
        return None
    total = float(values.var(ddof=1))
    test_set = float((values * (1 - values)).mean()) / (num_test - 1)
    seeds = max(total - test_set, 0.0) if redrawn else total
    return VarianceParts(total=total, test_set=test_set, seeds=seeds, redrawn=redrawn, n=n, num_test=num_test)


def binomial_interval(score: float, *, num_test: int, level: float = 0.95) -> tuple[float, float]:
    """Between which scores on all possible rows a score on ``num_test`` rows leaves room.

    The exact binomial interval of Clopper and Pearson (1934). It is for one model, and it holds also where
    every answer was right and a t-interval has no width.

    Raises:
        ValueError: the score is no share, or there are no rows.

    >>> low, high = binomial_interval(1.0, num_test=100)
    >>> round(low, 3), high
    (0.964, 1.0)
    """
    from scipy.special import betaincinv

    if num_test < 1 or not 0 <= score <= 1:
        raise ValueError(
            f"score must be a share of at least one row, found score={score:g} and num_test={num_test}; "
            "pass an accuracy and the test set's size"
        )
    right = round(score * num_test)
    tail = (1 - level) / 2
    low = float(betaincinv(right, num_test - right + 1, tail)) if right else 0.0
    high = float(betaincinv(right + 1, num_test - right, 1 - tail)) if right < num_test else 1.0
    return low, high


def seeds_needed(sd: float, *, half_width: float, level: float = 0.95) -> int:
    """The fewest seeds, at least two, whose t-interval is ``+- half_width`` where they spread by ``sd``.

    ``sd`` is the sample standard deviation (``ddof = 1``) of what the interval is for: of the scores, or, for
    a comparison, of the differences by seed, which is often far smaller. It is itself uncertain: from three
    seeds it comes out below half its true value in more than one case of five.

    Raises:
        ValueError: ``sd`` is negative or not finite, or ``half_width`` is not above 0.

    >>> seeds_needed(0.02, half_width=0.01)
    18
    """
    if not 0 <= sd < math.inf or not half_width > 0:
        raise ValueError(
            f"sd must be finite and at least 0, half_width above 0, found sd={sd} "
            f"and half_width={half_width}; take sd from a few seeds of the same setting"
        )
    low, high = 2, 2
    while t_half_width(std=sd, n=high, confidence=level) > half_width and high < MOST_SEEDS:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if t_half_width(std=sd, n=middle, confidence=level) > half_width:
            low = middle + 1
        else:
            high = middle
    return high
