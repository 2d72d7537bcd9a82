"""The plan: which pairs may claim what, and which are refused."""

import dataclasses

import pytest

from clifftop import events
from clifftop.clipping import Flat
from clifftop.events import Composed, NeighboringRelation, NonPrivate, PoissonSampled, SelfComposed
from clifftop.noise import Gaussian, NoiseMechanism
from clifftop.plan import PrivacyPlan
from clifftop.sampling import BatchSampler, FixedOrder, Poisson


def poisson(**changes: object) -> PrivacyPlan:
    parts = {
        "sampler": Poisson(sampling_prob=0.16),
        "clipping": Flat(clip_norm=1.0),
        "noise": Gaussian(noise_multiplier=2.0),
        "neighboring_relation": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "expected_batch_size": 64.0,
    }
    return PrivacyPlan(**(parts | changes))


def fixed(**changes: object) -> PrivacyPlan:
    parts = {
        "sampler": FixedOrder(batch_size=64),
        "neighboring_relation": NeighboringRelation.ZERO_OUT,
        "expected_batch_size": None,
    }
    return poisson(**(parts | changes))


def test_poisson_with_gaussian_is_the_composed_subsampled_gaussian():
    expected = SelfComposed(PoissonSampled(0.16, events.Gaussian(2.0)), 140)
    assert poisson().event(steps=140, num_examples=400) == expected


def test_a_fixed_order_claims_no_amplification():
    event = fixed().event(steps=140, num_examples=400)
    assert event == events.FixedOrder(events.Gaussian(2.0), 20)


def test_a_started_epoch_counts_in_full():
    assert fixed().event(steps=141, num_examples=400) == events.FixedOrder(events.Gaussian(2.0), 21)


SILENT = {"noise": Gaussian(noise_multiplier=0.0)}


@pytest.mark.parametrize("changes", [SILENT, SILENT | {"clipping": Flat(clip_norm=float("inf"))}])
def test_without_noise_or_bound_nothing_is_claimed(changes: dict[str, object]):
    assert poisson(**changes).event(steps=1, num_examples=10) == NonPrivate()
    assert fixed(**changes).event(steps=1, num_examples=100) == NonPrivate()


def test_a_rule_that_reads_the_data_pays_for_it():
    class Curious(Flat):
        def event(self):
            return events.Gaussian(30.0)

    event = poisson(clipping=Curious(clip_norm=1.0)).event(steps=3, num_examples=10)
    assert isinstance(event, Composed)
    assert event.events[0] == SelfComposed(events.Gaussian(30.0), 3)


def test_an_unknown_sampler_or_noise_gets_no_epsilon():
    class Shuffled(BatchSampler):
        def batch(self, step, *, num_examples, rng):
            raise NotImplementedError

    class Uniform(NoiseMechanism):
        def init(self, *, device_of):
            raise NotImplementedError

        def stack(self, states):
            raise NotImplementedError

        def template(self):
            raise NotImplementedError

        def __call__(self, total, state, stream):
            raise NotImplementedError

    for plan in (poisson(sampler=Shuffled()), poisson(noise=Uniform())):
        with pytest.raises(ValueError, match="needs a proven event, found none for"):
            plan.event(steps=1, num_examples=10)


def test_a_fixed_order_is_refused_under_add_or_remove():
    with pytest.raises(ValueError, match="keeps the size, found ADD_OR_REMOVE_ONE"):
        fixed(neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)


def test_poisson_sampling_needs_a_public_batch_size():
    with pytest.raises(ValueError, match="expected_batch_size must be given with Poisson sampling"):
        poisson(expected_batch_size=None)
    with pytest.raises(ValueError, match="expected_batch_size must be finite and > 0"):
        poisson(expected_batch_size=0.0)


def test_calibration_changes_the_noise_alone():
    plan = poisson()
    found = plan.calibrate(lambda make_event: 3.5, steps=140, num_examples=400)
    assert found == dataclasses.replace(plan, noise=Gaussian(noise_multiplier=3.5))


def test_noise_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="found clip_norm=inf with Gaussian"):
        poisson(clipping=Flat(clip_norm=float("inf")))
