"""How sure a number is: intervals, paired comparisons, many comparisons at once, and seeds needed."""

from clifftop.analysis.inference.differences import (
    difference_of,
    p_better,
    p_greater,
    p_greater_unpaired,
    paired_difference,
    summarised,
    welch_difference,
)
from clifftop.analysis.inference.floors import least_sd, rows_behind
from clifftop.analysis.inference.held_out import (
    WIDENING,
    cross_fitted,
    fitted_estimate,
    fitted_p_greater,
    halvings,
)
from clifftop.analysis.inference.multiple import Claim, holm, stated
from clifftop.analysis.inference.precision import (
    VarianceParts,
    binomial_interval,
    seeds_needed,
    variance_parts,
)
from clifftop.analysis.inference.resampling import bootstrap_interval
from clifftop.analysis.inference.winner import Winner, best_of, utilities

__all__ = [
    "WIDENING",
    "Claim",
    "VarianceParts",
    "Winner",
    "best_of",
    "binomial_interval",
    "bootstrap_interval",
    "cross_fitted",
    "difference_of",
    "fitted_estimate",
    "fitted_p_greater",
    "halvings",
    "holm",
    "least_sd",
    "p_better",
    "p_greater",
    "p_greater_unpaired",
    "paired_difference",
    "rows_behind",
    "seeds_needed",
    "stated",
    "summarised",
    "utilities",
    "variance_parts",
    "welch_difference",
]
