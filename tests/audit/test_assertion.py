"""`assert_private`: what keeps its claim passes, what does not is named, anything else is refused."""

import dataclasses
import sys
from inspect import getattr_static
from pathlib import Path

import pytest

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.audit import LeaksMore, assert_private
from clifftop.audit.runs import canaries_alone
from clifftop.audit.steps import run
from clifftop.audit.trainings import UnusableTraining
from clifftop.testing.zoo import Trainer
from clifftop.testing.zoo.bugs.preprocessing import PrivateMinMax

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAN = PrivacyPlan(
    sampler=Poisson(sampling_prob=0.128),
    clipping=Flat(clip_norm=1.0),
    noise=Gaussian(noise_multiplier=1.974),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=64,
)


@pytest.fixture
def loop(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import audit_my_loop

    yield audit_my_loop
    sys.modules.pop("audit_my_loop", None)


def test_a_failed_step_names_its_checks(loop):
    assert assert_private(loop.LogisticStep()).ok
    with pytest.raises(LeaksMore, match=r"keep its claim \(clip norm 1.*\n?sensitivity: ") as caught:
        assert_private(loop.LogisticStep(clips_the_mean=True))
    assert not caught.value.report.ok


def test_another_claim_can_be_asked_for(loop):
    step = loop.LogisticStep()
    stronger = dataclasses.replace(step.claim, noise_multiplier=2 * step.claim.noise_multiplier)
    with pytest.raises(LeaksMore, match="noise-scale: "):
        assert_private(step, claimed=stronger)


def test_under_another_claim_the_sampler_is_looked_at_all_the_same(loop, monkeypatch):
    # From Python 3.12 on a protocol is asked for without `__getattr__`, as `getattr_static` does here.
    monkeypatch.setattr(
        run, "isinstance", lambda step, _: bool(getattr_static(step, "sample", None)), raising=False
    )
    step = loop.LogisticStep()
    names = [check.name for check in assert_private(step, claimed=step.claim).checks]
    assert "sampler-rate" in names


def test_a_training_is_audited_by_its_runs():
    training = canaries_alone(PLAN, num_canaries=64, steps=20)
    assert assert_private(training, budget_seconds=0.5).ok
    claimed = dataclasses.replace(training.claim, noise_multiplier=2.5)
    with pytest.raises(LeaksMore, match="noise scale: "):
        assert_private(training, claimed=claimed, budget_seconds=0.5)


def test_what_cannot_be_audited_is_refused():
    with pytest.raises(UnusableTraining, match="at least one capability, found object with none"):
        assert_private(object())


def test_what_surrounds_a_training_is_checked():
    assert assert_private(Trainer()).ok
    with pytest.raises(LeaksMore, match="preparation: "):
        assert_private(PrivateMinMax())
