"""Lower bounds on epsilon from what an audit saw, each with its confidence and what it assumes.

No estimator picks anything by the scores that it is judged by: a threshold comes from other runs, from a
list or a rank made beforehand; the number of guesses comes from a specification made before the run. The
estimators are in `thresholds` (two samples, no family), `gaussian_dp` (two samples, the Gaussian family),
`curves` and `claims` (a claimed trade-off curve), `one_run` (one run, one epsilon and delta), `one_run_curve`
and `one_run_family` (one run, a claimed curve or a family), `mean_difference` (scores instead of guesses),
`credible` (Bayesian second columns) and `one_run_power` (what one run can show).
"""

from clifftop.audit.estimators import (
    claims,
    credible,
    curves,
    gaussian_dp,
    intervals,
    mean_difference,
    one_run,
    one_run_curve,
    one_run_family,
    one_run_power,
    thresholds,
)
from clifftop.audit.estimators.claims import against_curve_held_out
from clifftop.audit.estimators.curves import CurveTest, against_curve
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run_curve import AnyMechanism, IndependentCanaries
from clifftop.audit.estimators.values import Counts, LowerBound, TradeOffCurve

__all__ = [
    "AnyMechanism",
    "Counts",
    "CurveTest",
    "IndependentCanaries",
    "LowerBound",
    "OneRunSpec",
    "TradeOffCurve",
    "against_curve",
    "against_curve_held_out",
    "claims",
    "credible",
    "curves",
    "gaussian_dp",
    "intervals",
    "mean_difference",
    "one_run",
    "one_run_curve",
    "one_run_family",
    "one_run_power",
    "thresholds",
]
