"""What a tuning may be of, and what it costs before anything is trained."""

import math

import pytest

from clifftop import accounting
from clifftop.events import (
    Gaussian,
    NegativeBinomialTrials,
    NeighboringRelation,
    PoissonSampled,
    SelfComposed,
)
from clifftop.lab.sweep import Random
from clifftop.lab.tuning.covering import Setting, costliest, cover, maximal, selection_epsilons, setting_of
from clifftop.lab.tuning.trials import draw_trials, require_sound

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
DRAWN = Random(n=4)
MANY = {"steps": {"start": 1, "stop": 151}, "expected_batch_size": {"start": 1, "stop": 101}}
GEOMETRIC = NegativeBinomialTrials(mean=3.0)


def price(*settings, law=GEOMETRIC):
    runs = [setting.event for setting in settings]
    return selection_epsilons(runs, [law], delta=1e-5, neighboring_relation=ADD)[0]


def test_a_dominating_setting_costs_no_less_in_every_way():
    first = Setting(0.2, 2.0, 50)
    for other in (Setting(0.1, 2.0, 50), Setting(0.2, 3.0, 50), Setting(0.2, 2.0, 30)):
        assert first.dominates(other)
        assert not other.dominates(first)
        for epsilon in (0.0, 0.5, 2.0, 5.0):
            most, least = (
                accounting.delta(s.event, epsilon=epsilon, neighboring_relation=ADD) for s in (first, other)
            )
            assert least.lower <= most.upper
    assert not Setting(0.2, 2.0, 50).dominates(Setting(0.1, 1.0, 50))
    assert not Setting(0.0, 2.0, 50).dominates(Setting(0.1, 2.0, 1))


def test_few_settings_dominate_many():
    many = [Setting(0.02 + 0.01 * (i % 7), 1.0 + 0.1 * i, 10 + i * i) for i in range(60)]
    assert set(maximal(many)) <= set(many)
    for most in (100, 5, 1):
        few = cover(many, most=most)
        assert len(few) <= most
        assert all(any(one.dominates(setting) for one in few) for setting in many)
    exact = max(
        accounting.epsilon(s.event, delta=1e-5, neighboring_relation=ADD).upper for s in maximal(many)
    )
    assert costliest(many, delta=1e-5, neighboring_relation=ADD).upper == exact


def test_several_settings_cost_at_least_what_each_costs():
    """Crossing profiles: neither setting dominates, and the mixture is held to both."""
    short, long = Setting(0.3, 1.5, 10), Setting(0.02, 1.0, 400)
    both = price(short, long)
    assert both.upper >= max(price(short).upper, price(long).upper) * (1 - 1e-9)
    assert both.upper <= 1.3 * max(price(short).upper, price(long).upper)
    assert both.lower >= max(price(short).lower, price(long).lower) * (1 - 1e-9)
    one = NegativeBinomialTrials(mean=1.0)
    assert price(short, long, law=one).upper < both.upper


def test_vast_epsilons_take_no_longer():
    vast = Setting(0.9, 0.018, 332)
    found = selection_epsilons([vast.event], [GEOMETRIC], delta=1e-5, neighboring_relation=ADD)[0]
    assert 1e5 < found.lower <= found.upper < 1.2 * found.lower


def test_the_costliest_value_of_every_axis_is_priced(tools):
    sweep = tools.small_sweep(
        axes={"noise_multiplier": [9.0, 4.0], "lr": [0.1, 0.2], "clip_norm": [0.5, 2.0]}
    )
    assert tools.small_design(sweep).epsilon == price(Setting(0.25, 4.0, 20))
    longer = tools.small_sweep(axes={"steps": [20, 40, 30]})
    assert tools.small_design(longer).epsilon == price(Setting(0.25, 4.0, 40))


@pytest.mark.parametrize("axis", ["noise_multiplier", "target_epsilon"])
def test_every_trial_of_a_range_is_within_the_price(tools, axis):
    design = tools.small_design(tools.small_sweep(axes={axis: {"low": 2.0, "high": 4.0}}, search=DRAWN))
    trials = [trial for secret in range(6) for trial in draw_trials(design, secret)]
    for secret in range(6):
        require_sound(design, draw_trials(design, secret))
    settings = [setting_of(trial.spec, num_examples=200) for trial in trials]
    assert len({setting.noise_multiplier for setting in settings}) > 3
    ((q, steps),) = design.least_noise
    assert design.epsilon == price(Setting(q, design.least_noise[q, steps], steps))


def test_a_target_is_met_by_the_whole_tuning(tools):
    sweep = tools.small_sweep(axes={"expected_batch_size": [20, 50], "lr": [0.1, 0.2]})
    design = tools.small_design(sweep, target_epsilon=2.0)
    assert 1.9 < design.epsilon.upper <= 2.0
    assert design.one_run.upper < design.epsilon.upper
    assert len(design.least_noise) == 2
    for trial in draw_trials(design, 5):
        setting = setting_of(trial.spec, num_examples=200)
        assert setting.noise_multiplier == design.least_noise[setting.sampling_prob, setting.steps]
    private = tools.small_design(sweep, target_epsilon=2.0, num_scored=40)
    assert private.epsilon.upper <= 2.0


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"public": True}, {}, "clifftop sweep"),
        ({"axes": {"data.scale": [1.0, 2.0]}}, {}, "one data set"),
        ({"axes": {"steps": {"low": 2, "high": 9}}, "search": DRAWN}, {}, "list of values"),
        ({"axes": {"noise_multiplier": [1.0, 2.0]}}, {"target_epsilon": 1.0}, "axes.noise_multiplier"),
        ({"axes": {"noise_multiplier": [0.0, 2.0]}}, {}, "must have noise"),
        ({"axes": MANY}, {}, "10,000 combinations"),
    ],
    ids=["public", "data", "range", "noise", "no noise", "many"],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(tools, changes, options, words):
    with pytest.raises(tools.TuneError, match=words) as caught:
        tools.small_design(tools.small_sweep(**changes), **options)
    assert "\n" not in str(caught.value)


def test_a_design_has_a_name_of_its_own(tools, designed):
    assert tools.small_design().id == designed.id
    assert tools.small_design(trials=NegativeBinomialTrials(mean=3.0, shape=0.0)).id != designed.id
    assert tools.small_design(tools.small_sweep(axes={"lr": [0.1]})).id != designed.id
    assert math.isfinite(designed.epsilon.upper)
    assert (
        designed.one_run.upper
        == accounting.epsilon(
            SelfComposed(PoissonSampled(0.25, Gaussian(4.0)), 20), delta=1e-5, neighboring_relation=ADD
        ).upper
    )
