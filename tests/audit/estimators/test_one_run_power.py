"""What one run can show: the planned figures against simulation."""

import numpy as np
import pytest

from clifftop.audit.estimators.curves import gaussian_curve
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run_curve import AnyMechanism, IndependentCanaries
from clifftop.audit.estimators.one_run_family import gaussian_mu, largest_mu
from clifftop.audit.estimators.one_run_power import (
    canaries_needed,
    expected_bounds,
    expected_correct,
    specs_to_try,
)

OPTIONS = {"delta": 1e-5, "confidence": 0.95}


def test_the_expected_bound_is_about_the_median():
    """Epsilon 4 with 1000 canaries, the chosen numbers of guesses, 40 repetitions."""
    mu, rng = gaussian_mu(4.0, 1e-5), np.random.default_rng(0)
    for one in expected_bounds(4.0, num_canaries=1000, **OPTIONS)[1:3]:
        audit = AnyMechanism() if one.name == "f-DP" else IndependentCanaries()
        coins = rng.integers(0, 2, (40, 1000)).astype(bool)
        rights = [
            one.spec.correct(row, coin)
            for row, coin in zip(rng.normal(size=coins.shape) + mu * coins, coins, strict=True)
        ]
        median = largest_mu(audit, one.spec, int(np.median(rights)), confidence=0.95)
        assert median == pytest.approx(gaussian_mu(one.epsilon, 1e-5), rel=0.08)
        assert one.epsilon < 4.0 < one.ceiling


def test_the_number_needed_is_enough_about_every_other_time():
    """Half the noise at epsilon 4: refuted in a share of 200 repetitions that includes one half."""
    audit, rng, mu = IndependentCanaries(), np.random.default_rng(1), gaussian_mu(4.0, 1e-5)
    m = canaries_needed(2.0, audit=audit, epsilon=4.0, **OPTIONS)
    shares = []
    for spec in specs_to_try(m):
        refuting = [v for v in range(spec.num_guesses + 1)
                    if audit.refutes(gaussian_curve(mu), spec, v, tail=0.05)]  # fmt: skip
        coins = rng.integers(0, 2, (200, m)).astype(bool)
        scores = rng.normal(size=coins.shape) + 2.0 * mu * coins
        rights = [spec.correct(s, c) for s, c in zip(scores, coins, strict=True)]
        shares.append(np.mean([v in refuting for v in rights]))
    assert 0.3 < max(shares) < 0.9


def test_smaller_errors_need_more_and_may_be_out_of_reach():
    needed = [
        [canaries_needed(factor, audit=audit, epsilon=4.0, **OPTIONS) for factor in (2.0, 1.2, 1.05)]
        for audit in (IndependentCanaries(), None)
    ]
    for row in needed:
        assert row == sorted(row)
    assert canaries_needed(2.0, audit=AnyMechanism(), epsilon=4.0, **OPTIONS) > needed[0][0]
    assert canaries_needed(1.05, audit=AnyMechanism(), epsilon=4.0, **OPTIONS) is None


def test_expected_right_guesses():
    spec = OneRunSpec(num_canaries=400, guesses_in=200, guesses_out=200)
    assert expected_correct(0.0, spec) == 200
    assert expected_correct(2.0, spec) == round(400 * 0.8413447)
