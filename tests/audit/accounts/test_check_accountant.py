"""Accountants under audit: correct ones pass, tight or loose; every planted fault is found by its check."""

import importlib.util
import math
import time
from pathlib import Path

import pytest

from clifftop.accounting import RenyiAccountant, calibrate_noise_multiplier, epsilon
from clifftop.audit.accounts import Setting, check_accountant, extreme_settings, usual_settings, usual_targets
from clifftop.audit.document import AuditKind, Verdict
from clifftop.events import Gaussian, NeighboringRelation, PoissonSampled, SelfComposed
from clifftop.studies.no_cliff.published import epsilon_as_published

ADD_OR_REMOVE, REPLACE = NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE


def _planted():
    spec = importlib.util.spec_from_file_location("planted_accounts", Path(__file__).parent / "planted.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLANTED = _planted()


def failed(report):
    return [check.name for check in report.findings]


def ours(sampling_prob, noise_multiplier, steps, delta):
    event = SelfComposed(PoissonSampled(sampling_prob, Gaussian(noise_multiplier)), steps)
    return epsilon(event, delta=delta, neighboring_relation=ADD_OR_REMOVE).upper


def our_noise(target_epsilon, sampling_prob, steps, delta):
    return calibrate_noise_multiplier(
        lambda sigma: SelfComposed(PoissonSampled(sampling_prob, Gaussian(sigma)), steps),
        target_epsilon=target_epsilon,
        target_delta=delta,
        neighboring_relation=ADD_OR_REMOVE,
    )


def our_divergence(order, sampling_prob, noise_multiplier):
    event = PoissonSampled(sampling_prob, Gaussian(noise_multiplier))
    return RenyiAccountant(ADD_OR_REMOVE).divergence(event, order=order)


def test_ours_passes_every_check_and_is_not_loose():
    settings = (*usual_settings()[::8], *extreme_settings())
    report = check_accountant(
        ours,
        noise_of=our_noise,
        divergence_of=our_divergence,
        settings=settings,
        targets=usual_targets()[::4],
    )
    assert report.ok, str(report)
    assert report.not_checked == ()
    assert len(report.checks) == 13
    assert report.looseness[1] < 1.002
    assert report.lowest.share >= 1


def test_the_textbook_passes_and_its_looseness_is_said():
    textbook = PLANTED.Textbook()
    report = check_accountant(
        textbook, noise_of=textbook.noise, divergence_of=textbook.divergence, orders=(2, 32)
    )
    assert report.ok, str(report)
    assert report.looseness[0] > 1.05
    assert dict(report.document("textbook").figures)["reported over the truth, largest"] > 10
    assert check_accountant(PLANTED.Clamped()).ok


@pytest.mark.parametrize("name", PLANTED.WRONG)
def test_every_planted_fault_is_found_by_its_check(name):
    accountant, check = PLANTED.WRONG[name]
    report = check_accountant(accountant)
    assert check in failed(report), str(report)
    found = next(one for one in report.findings if one.name == check)
    assert found.witness
    assert report.document(name).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("accountant", "check"),
    [(PLANTED.WrongEnd(), "calibration-round-trip"), (PLANTED.HalfTheTarget(), "calibration-truth")],
)
def test_a_calibration_that_misses_its_target_is_found(accountant, check):
    report = check_accountant(accountant, noise_of=accountant.noise, settings=usual_settings()[:4])
    assert check in failed(report)


def test_a_calibration_without_an_answer_is_found():
    textbook = PLANTED.Textbook()
    report = check_accountant(textbook, noise_of=lambda **_: 1 / 0, settings=usual_settings()[:4])
    assert failed(report) == ["calibration-answers"]
    assert "ZeroDivisionError" in report.findings[0].found


def test_an_order_that_is_free_is_found_where_no_epsilon_shows_it():
    textbook = PLANTED.Textbook()
    report = check_accountant(
        textbook,
        divergence_of=lambda **asked: 0.0 if asked["order"] < 2 else math.inf,
        settings=usual_settings()[:4],
    )
    assert failed(report) == ["orders"]
    assert report.findings[0].witness[0].asked.order in (1.25, 1.5)


def test_the_published_epsilons_are_below_the_truth():
    asked = [
        Setting(sampling_prob=0.16, noise_multiplier=sigma, steps=140, delta=1e-5)
        for sigma in (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
    ]
    report = check_accountant(epsilon_as_published, settings=asked)
    assert failed(report) == ["truth"]
    assert report.findings[0].failures == 6  # sigma = 10 is above the Poisson truth
    worst = report.findings[0].witness[0]
    assert (worst.asked.noise_multiplier, round(worst.reported, 2)) == (0.1, 23.03)
    assert worst.certified.lower > 2000


def test_the_claimed_relation_decides():
    settings = usual_settings()[::32]
    assert check_accountant(ours, settings=settings).ok
    assert check_accountant(ours, settings=settings, relation=REPLACE).understates


def test_a_slow_accountant_is_asked_less_and_the_report_says_so():
    def slow(**asked):
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return PLANTED.Textbook()(**asked)

    start = time.process_time()
    report = check_accountant(slow, budget_seconds=0.2)
    assert time.process_time() - start < 1.0
    assert report.ok
    assert "since the time was spent" in report.not_checked[0]
    with pytest.raises(ValueError, match="budget_seconds must be above 0"):
        check_accountant(slow, budget_seconds=0)


def test_the_document_tells_everything():
    report = check_accountant(epsilon_as_published)
    document = report.document("paper:epsilon")
    assert (document.kind, document.verdict) == (AuditKind.ACCOUNTANT, Verdict.REFUTED)
    assert document.reason == "reports less privacy loss than there is; failed: truth, full-batch"
    assert "add or remove one" in document.claim
    assert [row.name for row in document.checks if not row.passed] == ["truth", "full-batch"]
    assert "FAIL truth: " in str(report)
    only_raises = check_accountant(PLANTED.WRONG["gives up"][0]).document("raises")
    assert only_raises.reason.startswith("no answer was below the truth, but failed: ")


def test_a_negative_answer_where_nothing_is_lost_understates_nothing():
    report = check_accountant(PLANTED.Unclamped())
    assert failed(report) == ["positive"]
    assert not report.understates


@pytest.mark.parametrize(("wiggle", "passes"), [(0.04, True), (0.5, False)])
def test_bounds_may_wiggle_by_their_own_error(wiggle, passes):
    """Twice the textbook's, down at every second step: valid either way."""
    textbook = PLANTED.Textbook()

    def wiggling(sampling_prob, noise_multiplier, steps, delta):
        epsilon = 2 * textbook(sampling_prob, noise_multiplier, 140, delta)
        return epsilon * (1 - wiggle * (steps == 2))

    settings = [setting for setting in usual_settings() if setting.steps < 140]
    report = check_accountant(wiggling, settings=settings)
    assert failed(report) == ([] if passes else ["monotone-steps"])


def test_a_setting_must_release_something():
    with pytest.raises(ValueError, match="must release something"):
        Setting(sampling_prob=0.0, noise_multiplier=1.0, steps=1, delta=1e-5)
    with pytest.raises(ValueError, match="noise_multiplier"):
        Setting(sampling_prob=0.5, noise_multiplier=-1.0, steps=1, delta=1e-5)
