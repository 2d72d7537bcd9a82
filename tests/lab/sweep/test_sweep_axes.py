"""The values of an axis, the law that one is drawn from, and the points that searches make of axes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.lab.sweep import Axes, Between, Choices, Grid, Random, Scale, Sobol, SweepFault
from clifftop.lab.sweep.axes import read_axis
from clifftop.lab.sweep.knobs import CLIPPINGS, KNOBS, OPTIMIZERS, SAMPLERS, Refused

AXES = Axes(
    {
        "lr": {"low": 0.01, "high": 10, "scale": "log", "num": 4},
        "clip_norm": [0.1, 1, 10],
        "model.width": {"low": 8, "high": 64},
        "seed": {"stop": 2},
    }
)


def test_names_are_those_of_the_lab():
    from clifftop.lab.optim import OPTIMIZERS as KNOWN
    from clifftop.lab.sweep.building import CLIPPING_RULES, SAMPLINGS

    assert tuple(KNOWN) == OPTIMIZERS
    assert tuple(CLIPPING_RULES) == CLIPPINGS
    assert tuple(SAMPLINGS) == SAMPLERS


def test_axes_have_one_order_however_they_are_written():
    names = list(AXES)
    assert names == ["seed", "model.width", "clip_norm", "lr"]
    assert list(Axes({name: AXES[name] for name in reversed(names)})) == names
    assert set(KNOBS) >= set(names) - {"model.width"}


def test_values_have_the_type_of_their_knob():
    assert AXES["clip_norm"].values() == (0.1, 1.0, 10.0)
    assert all(type(value) is float for value in AXES["clip_norm"].values())
    assert AXES["seed"] == Choices((0, 1))
    assert AXES["model.width"].whole
    assert not Axes({"model.rate": {"low": 0.0, "high": 1}})["model.rate"].whole


def test_ranges_hold_their_ends_and_short_numbers():
    assert AXES["lr"].values() == (0.01, 0.1, 1.0, 10.0)
    assert read_axis({"low": 0.1, "high": 0.7, "num": 3}).values() == (0.1, 0.4, 0.7)
    assert Between(low=1, high=4, num=7, whole=True).values() == (1, 2, 3, 4)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    low=st.floats(1e-6, 1e3),
    factor=st.floats(1.01, 1e4),
    u=st.floats(0, 1, exclude_max=True),
    scale=st.sampled_from(list(Scale)),
)
def test_a_draw_lies_in_its_range(low, factor, u, scale):
    axis = Between(low=low, high=low * factor, scale=scale)
    assert axis.low <= axis.at(u) <= axis.high


@pytest.mark.parametrize("scale", list(Scale))
def test_every_whole_number_of_a_range_is_drawn_as_often_as_its_scale_says(scale):
    axis = Between(low=1, high=4, scale=scale, whole=True)
    drawn = [axis.at((i + 0.5) / 10_000) for i in range(10_000)]
    shares = [drawn.count(k) / 10_000 for k in (1, 2, 3, 4)]
    spread = [math.log((k + 0.5) / (k - 0.5)) / math.log(9) for k in (1, 2, 3, 4)]
    assert shares == pytest.approx(spread if scale is Scale.LOG else [0.25] * 4, abs=1e-3)


def test_a_range_of_a_logarithm_is_uniform_in_it():
    axis = Between(low=0.01, high=100, scale=Scale.LOG)
    assert axis.at(0.25) == pytest.approx(0.1)
    assert Between(low=0.0, high=100.0).at(0.25) == 25.0


@pytest.mark.parametrize("written", [{}, {"scale": "log"}, "0.1", 3, None])
def test_what_is_no_axis_is_refused(written):
    with pytest.raises(Refused, match="must"):
        read_axis(written)


def test_a_grid_is_every_combination_slowest_axis_first():
    axes = Axes({"lr": [1, 2], "seed": [7, 8]})
    assert Grid().points(axes) == (
        {"seed": 7, "lr": 1.0},
        {"seed": 7, "lr": 2.0},
        {"seed": 8, "lr": 1.0},
        {"seed": 8, "lr": 2.0},
    )


def test_a_grid_too_large_to_hold_is_refused():
    axes = Axes(
        {"lr": {"low": 0.1, "high": 1, "num": 2000}, "clip_norm": {"low": 0.1, "high": 1, "num": 2000}}
    )
    with pytest.raises(SweepFault, match="must make at most 1000000 points, found 4000000"):
        Grid().check(axes, public=False)


@pytest.mark.parametrize("search", [Random, Sobol])
def test_a_larger_search_keeps_the_points_of_the_smaller(search):
    few, many = (search(n=n, seed=3).points(AXES) for n in (5, 9))
    assert len(few) == 2 * 5
    assert few[:5] == many[:5]
    assert few[5:] == many[9:14]
    assert search(n=5, seed=4).points(AXES) != few


@pytest.mark.parametrize("search", [Random, Sobol])
def test_crossed_axes_have_every_value_at_every_point(search):
    found = search(n=6, cross=("clip_norm",)).points(AXES)
    assert len(found) == 2 * 3 * 6
    searched = {(point["model.width"], point["lr"]) for point in found}
    assert len(searched) == 6
    assert {(point["seed"], point["clip_norm"]) for point in found} == {
        (seed, clip) for seed in (0, 1) for clip in (0.1, 1.0, 10.0)
    }


def test_points_of_lists_are_distinct():
    axes = Axes({"lr": [1, 2]})
    assert len(Random(n=50).points(axes)) == 2


def test_a_sobol_sequence_is_even():
    axes = Axes({"model.a": {"low": 0.0, "high": 1}, "model.b": {"low": 0.0, "high": 1}})
    points = Sobol(n=64).points(axes)
    for name in axes:
        counts = np.histogram([point[name] for point in points], bins=8, range=(0, 1))[0]
        assert counts.tolist() == [8] * 8
    loose = np.histogram([point["model.a"] for point in Random(n=64).points(axes)], bins=8, range=(0, 1))[0]
    assert loose.tolist() != [8] * 8


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (lambda: Random(n=0), "search.n: must be a whole number >= 1, found 0"),
        (lambda: Random(n=2.0), "found 2.0"),
        (lambda: Sobol(n=3, seed=-1), "search.seed"),
        (lambda: Random(n=3, cross="lr"), "must be a list of axes"),
        (
            lambda: Random(n=3, cross=("lrs",)).check(AXES, public=False),
            "use seed, model.width, clip_norm, lr",
        ),
        (
            lambda: Random(n=3, cross=("model.width",)).check(AXES, public=False),
            "axes.model.width: must have num",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(search, words):
    with pytest.raises(SweepFault) as caught:
        search()
    assert words in str(caught.value)
