"""What a search costs, by what is released of it and by what its runs share."""

import json
import math
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop import accounting
from clifftop.clipping import Flat
from clifftop.events import Composed, NeighboringRelation, PoissonSampled, SelfComposed
from clifftop.events import FixedOrder as FixedOrderEvent
from clifftop.events import Gaussian as GaussianEvent
from clifftop.lab.costs import search_cost
from clifftop.lab.joint import PoissonRun, joint, private_runs, together
from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec, SpecError
from clifftop.noise import Gaussian, Keyed, Secure
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder, Poisson

ADD, ZERO = NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.ZERO_OUT
DATA = Factory(target="clifftop.datasets:gaussian_clusters")
N, DELTA = 1000, 1e-5


def run(sigma=2.0, *, q=0.1, steps=50, seed=0, relation=ADD, order=False, clip_norm=1.0, **fields) -> RunSpec:
    plan = PrivacyPlan(
        sampler=FixedOrder(batch_size=100) if order else Poisson(sampling_prob=q),
        clipping=Flat(clip_norm=clip_norm),
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=ZERO if order else relation,
        expected_batch_size=100.0,
    )
    defaults = {"optimizer": OptimizerSpec(lr=1.0), "streams": Keyed(), "data": DATA}
    defaults["model"] = Factory(target="nets:mlp")
    return RunSpec(
        plan=plan,
        steps=steps,
        evaluate_every=10,
        seed=seed,
        **defaults | fields,
    )


def cost(*specs, **options):
    return search_cost(list(specs), num_examples=N, delta=DELTA, **options)


def sampled(sigma, q=0.1, steps=50):
    return SelfComposed(PoissonSampled(q, GaussianEvent(sigma)), steps)


def test_independent_runs_compose_by_counts():
    specs = [run(2.0, seed=1), run(2.0, seed=2), run(3.0, seed=3, steps=20), run(2.0, seed=4, steps=7)]
    event = Composed((sampled(2.0, steps=107), sampled(3.0, steps=20)))
    found = cost(*specs)
    assert joint(specs, num_examples=N).event == event
    assert found.composition == accounting.epsilon(event, delta=DELTA, neighboring_relation=ADD)
    assert found.single == accounting.epsilon(sampled(2.0), delta=DELTA, neighboring_relation=ADD)
    assert (found.runs, found.settings, found.baselines, found.why) == (4, 3, 0, "")


def test_a_run_released_twice_is_released_once():
    assert cost(run(), run()).composition == cost(run()).composition
    assert cost(run()).composition.upper == cost(run()).single.upper


@pytest.mark.parametrize(
    "other",
    [
        run(5.0),
        run(2.0, clip_norm=9.0),
        run(2.0, q=0.5),
        run(2.0, seed=3, noise_seed=0),
        run(2.0, model=Factory(target="nets:wide")),
        run(2.0, streams=Keyed(), steps=9),
    ],
    ids=["sigma", "clip norm", "q", "noise seed equal to a seed", "model", "steps"],
)
def test_runs_that_share_noise_are_never_released_together(other):
    found = cost(run(2.0), other)
    assert found.composition.upper == math.inf
    assert "2 of 2 runs share their noise" in found.why
    assert "sharing" in found.why
    assert "may not be released" in found.sentences()["composition"]
    assert math.isfinite(found.single.upper)
    assert all(math.isfinite(one.epsilon.upper) for one in found.selection)


@pytest.mark.parametrize(
    "other",
    [run(5.0, noise_seed=7), run(5.0, seed=1), run(5.0, streams=Secure())],
    ids=["noise", "seed", "kind"],
)
def test_noise_of_its_own_makes_a_release_possible(other):
    assert math.isfinite(cost(run(2.0), other).composition.upper)


def test_prefetching_draws_the_same_noise():
    assert cost(run(streams=Secure()), run(streams=Secure(prefetch=True))).composition.upper == math.inf


def test_a_shared_sample_is_one_release_with_less_noise():
    specs = [run(2.0, noise_seed=i) for i in range(4)]
    found = joint(specs, num_examples=N)
    ((q, sigma), steps) = next(iter(found.sampled.items()))
    assert (q, steps) == (0.1, 50)
    assert sigma == pytest.approx(1.0, rel=1e-10)
    assert sigma < 1.0
    event = sampled(1.0)
    upper = accounting.epsilon(event, delta=DELTA, neighboring_relation=ADD).upper
    assert cost(*specs).composition.upper == pytest.approx(upper, rel=1e-8)


def test_runs_of_different_lengths_share_only_while_both_train():
    runs = [
        PoissonRun(sampling_prob=0.1, noise_multiplier=s, steps=n)
        for s, n in ((3.0, 40), (4.0, 25), (2.0, 25))
    ]
    found = together(runs)
    assert found[0.1, 3.0] == 15
    ((_, sigma),) = [key for key in found if key != (0.1, 3.0)]
    assert sigma == pytest.approx((1 / 9 + 1 / 16 + 1 / 4) ** -0.5, rel=1e-10)
    assert sum(found.values()) == 40


def hockey_stick(p, q, x):
    return float(np.maximum(p - math.exp(x) * q, 0.0).sum())


def nested_pair(q1, sigma1, q2, sigma2):
    """The joint law of one step of two runs with one uniform number and own noise, with and without a row."""
    edges = np.linspace(-12, 14, 261)
    cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))
    without = np.diff(cdf(edges))
    with_1, with_2 = (np.diff(cdf(edges - 1 / sigma)) for sigma in (sigma1, sigma2))
    low, high = min(q1, q2), max(q1, q2)
    only = np.outer(with_1, without) if q1 > q2 else np.outer(without, with_2)
    absent = np.outer(without, without)
    present = low * np.outer(with_1, with_2) + (high - low) * only + (1 - high) * absent
    return present.ravel(), absent.ravel()


@pytest.mark.parametrize(
    ("q1", "sigma1", "q2", "sigma2"), [(0.2, 1.0, 0.5, 2.0), (0.5, 0.7, 0.5, 0.7), (0.05, 0.6, 0.3, 3.0)]
)
def test_nested_samples_are_bounded_and_independent_ones_would_not_bound_them(q1, sigma1, q2, sigma2):
    """One step of two runs that share a uniform number, against the exact law of both outputs.

    The negative control: accounting them as two samples drawn by themselves is below the truth somewhere.
    """
    runs = [PoissonRun(sampling_prob=q, noise_multiplier=s, steps=1) for q, s in ((q1, sigma1), (q2, sigma2))]
    ((q, sigma),) = together(runs)
    right = PoissonSampled(q, GaussianEvent(sigma))
    wrong = Composed(tuple(PoissonSampled(r.sampling_prob, GaussianEvent(r.noise_multiplier)) for r in runs))
    present, absent = nested_pair(q1, sigma1, q2, sigma2)
    below = 0
    for x in np.linspace(0.0, 4.0, 17):
        true = max(hockey_stick(present, absent, x), hockey_stick(absent, present, x))
        bounds = [accounting.delta(e, epsilon=float(x), neighboring_relation=ADD) for e in (right, wrong)]
        assert true <= bounds[0].upper + 1e-9
        below += true > bounds[1].upper + 1e-9
    assert below > 0


def test_one_sample_on_different_data_gives_up_amplification():
    """A row's number says whose it is only within one data set."""
    other = Factory(target="clifftop.datasets:gaussian_clusters", options={"seed": 3})
    specs = [run(9.0, noise_seed=1), run(9.0, noise_seed=2, data=other)]
    found = joint(specs, num_examples=N)
    assert not found.is_exact
    assert found.event == Composed((SelfComposed(GaussianEvent(9.0), 100),))
    apart = [run(9.0, seed=1), run(9.0, seed=2, data=other)]
    assert cost(*specs).composition.upper > cost(*apart).composition.upper
    assert joint(apart, num_examples=N).is_exact


def test_fixed_orders_compose_as_gaussian_releases():
    specs = [run(8.0, order=True, steps=25, noise_seed=1), run(8.0, order=True, steps=10, noise_seed=2)]
    found = joint(specs, num_examples=N)
    assert found.event == Composed((FixedOrderEvent(GaussianEvent(8.0), 4),))
    assert found.ordered == Counter({8.0: 4})
    assert cost(*specs).single.upper < cost(*specs).composition.upper < math.inf


def test_two_relations_are_refused():
    with pytest.raises(SpecError, match="one neighbouring relation") as caught:
        cost(run(), run(order=True))
    assert "\n" not in str(caught.value)


def baseline(**fields) -> RunSpec:
    return run(0.0, clip_norm=math.inf, **fields)


def test_baselines_are_counted_apart():
    with_them = cost(run(2.0), run(3.0, seed=1), baseline(), baseline(seed=1))
    assert with_them.baselines == 2
    assert with_them.composition == cost(run(2.0), run(3.0, seed=1)).composition
    assert "2 runs without privacy" in with_them.sentences()["composition"]
    alone = cost(baseline())
    assert alone.single.upper == alone.composition.upper == math.inf
    assert alone.selection == ()
    assert alone.to_json()["single"]["epsilon_upper"] == "inf"


def test_public_data_cost_nothing():
    found = cost(run(2.0), run(3.0), baseline(), public=True)
    assert found.single.upper == found.composition.upper == found.public.upper == 0
    assert list(found.sentences()) == ["public"]


def test_selection_is_that_of_the_costliest_setting():
    specs = [run(sigma, seed=seed) for seed, sigma in enumerate((2.0, 3.0, 4.0, 2.0))]
    found = cost(*specs)
    assert [one.mean for one in found.selection] == [3.0, 3.0]  # settings, not runs
    from clifftop.events import NegativeBinomialTrials, RepeatAndSelect

    for one, shape in zip(found.selection, (1.0, 0.0), strict=True):
        law = NegativeBinomialTrials(mean=3.0, shape=shape)
        event = RepeatAndSelect(sampled(2.0), law)
        assert one.epsilon == accounting.epsilon(event, delta=DELTA, neighboring_relation=ADD)
    assert cost(*specs, trials=20).selection[0].epsilon.upper > found.selection[0].epsilon.upper


def test_words_say_what_each_number_is_not():
    said = cost(run(2.0), run(3.0, seed=1)).sentences()
    assert "This is not the cost of the search" in said["single"]
    assert "the runs of this search cannot be released at it" in said["selection"]
    assert "seed" in said["composition"]
    assert set(said) == {"single", "composition", "selection", "public"}


@st.composite
def searches(draw):
    count = draw(st.integers(1, 4))
    found = []
    for number in range(count):
        sigma = draw(st.sampled_from([1.0, 3.0, 25.0]))
        found.append(
            run(
                sigma,
                q=draw(st.sampled_from([0.01, 0.2, 1.0])),
                steps=draw(st.sampled_from([2, 30, 400])),
                seed=draw(st.integers(0, 2)),
                noise_seed=draw(st.sampled_from([None, number + 10])),
                data=draw(st.sampled_from([DATA, Factory(target="other:data")])),
            )
        )
    return found


@settings(max_examples=5, derandomize=True, deadline=None)
@given(searches())
def test_prices_are_numbers_and_in_order(specs):
    found = cost(*specs)
    assert 0 < found.single.lower <= found.single.upper < math.inf
    assert found.composition.upper >= found.single.lower
    assert all(found.single.lower <= one.epsilon.upper < math.inf for one in found.selection)
    assert found.composition.lower <= found.composition.upper
    json.dumps(found.to_json(), allow_nan=False)
    # What is released with more is released at no less.
    more = cost(*specs, run(1.0, seed=99))
    assert more.composition.upper >= found.composition.lower


def test_ten_thousand_runs_are_priced_at_once():
    """1,000 sigmas ten times over: the processor's time, with room for a busy machine."""
    sigmas = np.geomspace(0.5, 20.0, 1000)
    independent = [run(float(sigmas[i % 1000]), seed=i) for i in range(10_000)]
    lengths = [replace(spec, seed=i % 10, noise_seed=i) for i, spec in enumerate(independent)]
    for specs, options in ((independent, {}), (lengths, {})):
        started = time.process_time()
        found = search_cost(specs, num_examples=N, delta=DELTA, **options)
        assert time.process_time() - started < 5.0
        assert found.single.upper < found.composition.upper < math.inf
        assert found.single.upper == cost(independent[0]).single.upper
    assert len(private_runs(independent)) == 10_000


def test_too_many_kinds_of_steps_are_joined_and_cost_no_less(monkeypatch):
    from clifftop.lab import costs

    specs = [run(2.0, seed=i, q=0.05 + 0.001 * i) for i in range(40)]
    exact = cost(*specs).composition
    monkeypatch.setattr(costs, "MOST_DISTINCT", 10)
    renyi = cost(*specs).composition
    monkeypatch.setattr(costs, "MOST_JOINED", 20)
    joined = cost(*specs).composition
    assert exact.upper < renyi.upper < joined.upper < 1.5 * exact.upper
    assert joined.lower <= exact.upper
