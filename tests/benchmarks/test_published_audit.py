"""The published study under audit: its scores are what they claim, and the page says what the record says."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from clifftop.accounting import epsilon
from clifftop.audit.estimators import thresholds
from clifftop.events import FixedOrder, Gaussian, NeighboringRelation

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "benchmarks/records/audit_published.json").read_text())["figures"]
ROWS = {row["sigma"]: row for row in FIGURES["rows"]}
BY_SAMPLING = (0.5, 1.0, 2.0, 5.0, 10.0)


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "audits"))
    return importlib.import_module


def test_the_canary_is_in_one_batch_an_epoch(benchmark):
    steps = benchmark("published_releases").batches_of_the_canary(row=399)
    assert steps == [7 * epoch + 6 for epoch in range(20)]


@pytest.mark.parametrize("name", ["fixed order", "shuffled"])
def test_a_score_is_the_log_of_a_likelihood_ratio(benchmark, name):
    """Its exponential has mean 1 without the canary; the interval errs once in 1,000,000 times."""
    scoring = benchmark("published_releases").SAMPLERS[name]
    ratios = np.exp(scoring(20_000, present=False, sigma=8.0, rng=np.random.default_rng(0)))
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / np.sqrt(ratios.size)
    with_canary = np.exp(scoring(20_000, present=True, sigma=8.0, rng=np.random.default_rng(1)))
    assert with_canary.mean() > 1.03


@pytest.mark.parametrize(("sigma", "published"), [(1.0, 4.80), (2.0, 1.33)])
def test_a_few_runs_refute_what_was_published_and_not_the_truth(benchmark, sigma, published):
    """Each bound is above the truth in at most 5% of audits; the seed is fixed."""
    releases = benchmark("published_releases")
    rng = np.random.default_rng(3)
    scores = releases.scored(releases.fixed_order, 20_000, sigma=sigma, rng=rng)
    bound = thresholds.epsilon_held_out(scores.present, scores.absent, delta=1e-5, confidence=0.95, rng=rng)
    truth = epsilon(
        FixedOrder(Gaussian(sigma), 20), delta=1e-5, neighboring_relation=NeighboringRelation.ZERO_OUT
    )
    assert published < bound.epsilon < truth.lower


def test_the_trainings_know_the_noise_but_for_the_canary(benchmark, monkeypatch):
    """Likelihood ratios of 5 Gaussian releases: N(+-mu^2/2, mu^2); 5 standard errors."""
    training = benchmark("published_training")
    monkeypatch.setattr(training, "STEPS", 35)
    present = np.arange(16) % 2 == 0
    scores = training.scored(2.0, list(range(16)), present)
    mu_squared = 5 / 2.0**2
    unexplained = scores - np.where(present, 0.5, -0.5) * mu_squared
    assert abs(unexplained.mean()) < 5 * np.sqrt(mu_squared / 16)
    assert 0.3 < unexplained.std() / np.sqrt(mu_squared) < 2


def test_the_record_refutes_every_published_epsilon():
    accountant = {answer["sigma"] for answer in FIGURES["accountant"]["answers"] if answer["refuted"]}
    sampling = {sigma for sigma, row in ROWS.items() if row["fixed order"]["refuted"]}
    assert accountant == set(ROWS) - {10.0}
    assert sampling == set(BY_SAMPLING)
    assert all(row["refuted"] for row in FIGURES["training"])
    assert {sigma for sigma, row in ROWS.items() if row["shuffled"]["refuted"]} == {1.0, 2.0}


@pytest.mark.parametrize("sigma", BY_SAMPLING)
def test_no_bound_of_the_record_is_above_the_truth(sigma):
    row = ROWS[sigma]
    for name in ("fixed order", "shuffled"):
        assert row[name]["plain"]["epsilon"] < row["truth"]["fixed order"][0]


def test_the_tables_of_the_page_are_the_record(benchmark):
    page = (ROOT / "docs" / "audit_accountants.md").read_text()
    assert page == benchmark("published_tables").filled(page, FIGURES), "run: published_tables.py"
    assert FIGURES["bounds"] == len(ROWS) * 2 + len(FIGURES["training"])


def test_the_picture_has_a_row_for_each_noise_multiplier(benchmark):
    picture = benchmark("published_picture")
    points, _, verdicts = picture.tables(FIGURES)
    assert list(dict.fromkeys(points["sigma"])) == ["0.01", "0.1", "0.5", "1", "2", "5", "10"]
    assert verdicts["verdict"].count("refuted") == 11
    assert verdicts["verdict"].count("out of reach") == 2
