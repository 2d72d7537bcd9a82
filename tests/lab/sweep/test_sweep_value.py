"""A sweep as a value: the runs that stand at its points, and what they cost alone."""

import dataclasses
import json
import math

import numpy as np
import pytest

from clifftop import accounting
from clifftop.clipping import Automatic, Flat, PerLayer
from clifftop.codec import CodecError, from_json
from clifftop.events import NeighboringRelation
from clifftop.lab.cohort import static_key
from clifftop.lab.spec import Factory
from clifftop.lab.sweep import SharingMode, Sweep, SweepFault, sweep_from_json
from clifftop.lab.sweep import privacy as sweep_privacy
from clifftop.sampling import FixedOrder, Poisson

N = 400


def sweep(**changed) -> Sweep:
    settings = {
        "name": "value",
        "model": "clifftop.studies.no_cliff.model:mlp",
        "data": "clifftop.datasets:gaussian_clusters",
        "delta": 1e-5,
        "expected_batch_size": 64,
        "epochs": 20,
        "target_epsilon": 3,
        "clip_norm": 1,
        "lr": 0.5,
    }
    return Sweep(**{name: value for name, value in {**settings, **changed}.items() if value is not None})


def run(changed: dict | None = None, /, **kwargs):
    made = sweep(**(changed or {}), **kwargs)
    return made.spec(made.points()[0], num_examples=N)


def epsilon(spec, delta=1e-5):
    event = spec.plan.event(steps=spec.steps, num_examples=N)
    return accounting.epsilon(event, delta=delta, neighboring_relation=spec.plan.neighboring_relation)


@pytest.mark.parametrize("target", [0.3, 1, 3, 8.5])
@pytest.mark.parametrize("sampler", ["poisson", "fixed-order"])
def test_calibrated_noise_meets_its_target_and_no_less_would(target, sampler):
    spec = run(target_epsilon=target, sampler=sampler)
    assert target * (1 - 1e-5) <= epsilon(spec).upper <= target
    assert float(f"{spec.noise_multiplier:.8g}") == spec.noise_multiplier


def test_noise_that_a_wavering_search_found_too_small_is_raised(monkeypatch):
    right = run(target_epsilon=2.5).noise_multiplier
    find = accounting.calibrate_noise_multiplier
    monkeypatch.setattr(
        accounting, "calibrate_noise_multiplier", lambda *event, **target: find(*event, **target) * (1 - 3e-7)
    )
    sweep_privacy.noise_for.cache_clear()
    raised = run(target_epsilon=2.5)
    sweep_privacy.noise_for.cache_clear()
    assert epsilon(raised).upper <= 2.5
    assert raised.noise_multiplier == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize(
    ("sampler", "epochs", "steps"),
    [
        ("poisson", 20, 125),
        ("poisson", 0.1, 1),
        ("poisson", 1, 7),
        ("fixed-order", 20, 140),
        ("fixed-order", 0.5, 4),
    ],
)
def test_epochs_become_steps_rounded_up(sampler, epochs, steps):
    spec = run(epochs=epochs, sampler=sampler)
    assert spec.steps == steps
    assert spec.evaluate_every == 7


def test_a_tenth_of_an_epoch_is_what_was_written():
    assert sweep(epochs=0.1, expected_batch_size=10).spec({}, num_examples=1000).steps == 10


def test_samplers_and_relations():
    poisson, fixed = run(), run(sampler="fixed-order")
    assert poisson.plan.sampler == Poisson(sampling_prob=0.16)
    assert poisson.plan.neighboring_relation is NeighboringRelation.ADD_OR_REMOVE_ONE
    assert fixed.plan.sampler == FixedOrder(batch_size=64)
    assert fixed.plan.neighboring_relation is NeighboringRelation.ZERO_OUT
    assert (
        run(neighboring_relation="replace_one").plan.neighboring_relation is NeighboringRelation.REPLACE_ONE
    )


@pytest.mark.parametrize(
    ("name", "rule"), [("flat", Flat), ("automatic", Automatic), ("per-layer", PerLayer)]
)
def test_clipping_rules_by_name(name, rule):
    assert run(clipping=name).plan.clipping == rule(clip_norm=1.0)


def test_every_axis_reaches_its_place():
    made = sweep(
        lr=None,
        epochs=None,
        clip_norm=None,
        target_epsilon=None,
        expected_batch_size=None,
        optimizer_options={"momentum": 0.9},
        axes={
            "lr": [0.25],
            "steps": [11],
            "clip_norm": [2],
            "noise_multiplier": [1.5],
            "expected_batch_size": [40],
            "clipping": ["automatic"],
            "optimizer": ["rmsprop"],
            "optimizer.alpha": [0.5],
            "seed": [4],
            "model.hidden": [16],
            "data.spread": [2.0],
        },
    )
    (spec,) = made.specs(N)
    assert spec.optimizer.lr == 0.25
    assert (spec.optimizer.name, dict(spec.optimizer.options)) == ("rmsprop", {"momentum": 0.9, "alpha": 0.5})
    assert (spec.steps, spec.seed, spec.noise_multiplier, spec.clip_norm) == (11, 4, 1.5, 2.0)
    assert spec.plan.expected_batch_size == 40.0
    assert spec.plan.sampler == Poisson(sampling_prob=0.1)
    assert spec.model.options == {"hidden": 16}
    assert spec.data.options == {"spread": 2.0}
    assert isinstance(spec.plan.clipping, Automatic)


def test_ids_do_not_depend_on_how_numbers_or_axes_are_written():
    one = sweep(lr=None, clip_norm=None, axes={"lr": [1, 0.5], "clip_norm": [1, 2]})
    other = sweep(lr=None, clip_norm=None, axes={"clip_norm": [1.0, 2.0], "lr": [1.0, 0.5]})
    assert [spec.id for spec in one.specs(N)] == [spec.id for spec in other.specs(N)]
    assert one == other
    assert one.canonical == other.canonical
    assert from_json(one.canonical, Sweep) == one


def test_more_values_keep_the_runs_there_were():
    few, many = (sweep(lr=None, axes={"lr": lrs}).specs(N) for lrs in ([0.1, 1], [0.1, 0.3, 1]))
    assert {spec.id for spec in few} < {spec.id for spec in many}


def test_baselines_have_neither_clipping_nor_noise_and_stand_once_beside_their_runs():
    made = sweep(
        lr=None,
        clip_norm=None,
        baselines=True,
        axes={"lr": [0.1, 1], "clip_norm": [1, 2], "clipping": ["flat", "per-layer"], "seed": [0, 1]},
    )
    specs = made.specs(N)
    bare = [spec for spec in specs if not spec.plan.is_private]
    assert len(specs) == 16 + 4
    assert {(spec.optimizer.lr, spec.seed) for spec in bare} == {
        (lr, seed) for lr in (0.1, 1.0) for seed in (0, 1)
    }
    assert all((spec.clip_norm, spec.noise_multiplier) == (math.inf, 0.0) for spec in bare)
    assert all(math.isinf(epsilon(spec).upper) for spec in bare)
    flat = next(spec for spec in specs if isinstance(spec.plan.clipping, Flat) and spec.plan.is_private)
    assert static_key(bare[0]) == static_key(flat)


def test_common_runs_of_a_seed_share_everything():
    specs = sweep(lr=None, axes={"lr": [0.1, 1], "seed": [0, 1]}).specs(N)
    assert [(spec.seed, spec.noise_seed) for spec in specs] == [(0, None), (0, None), (1, None), (1, None)]


def test_order_gives_each_run_noise_of_its_own_in_one_order():
    made = sweep(lr=None, sharing="order", axes={"lr": [0.1, 1], "seed": [0, 1]})
    specs = made.specs(N)
    assert [spec.seed for spec in specs] == [0, 0, 1, 1]
    assert len({spec.noise_key for spec in specs}) == 4
    assert made.specs(N) == specs
    assert max(spec.noise_key for spec in specs).bit_length() > 200
    assert len({static_key(spec) for spec in specs}) == 1


def test_independent_runs_share_no_seed():
    specs = sweep(lr=None, sharing=SharingMode.INDEPENDENT, axes={"lr": [0.1, 1], "seed": [0, 1]}).specs(N)
    assert len({spec.seed for spec in specs}) == 4
    assert all(spec.noise_seed is None for spec in specs)


@pytest.mark.parametrize("mode", list(SharingMode))
def test_seeds_that_are_passed_replace_the_modes(mode):
    spec = sweep(sharing=mode).spec({}, num_examples=N, seed=9, noise_seed=2**200)
    assert (spec.seed, spec.noise_seed) == (9, 2**200)
    assert sweep(sharing=mode).spec({}, num_examples=N, seed=9).seed == 9


def test_a_draw_is_a_point_without_a_seed():
    made = sweep(
        lr=None,
        axes={
            "lr": {"low": 0.1, "high": 10, "scale": "log", "num": 3},
            "model.hidden": [8, 16],
            "seed": [0, 1],
        },
    )
    point = made.draw(np.random.default_rng(0))
    assert list(point) == ["model.hidden", "lr"]
    assert made.draw(np.random.default_rng(0)) == point
    assert made.spec(point, num_examples=N, seed=3).seed == 3


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(
        SweepFault, match="expected_batch_size: must be at most the 50 training rows, found 64"
    ):
        sweep().spec({}, num_examples=50)


def test_a_target_that_no_noise_meets_is_refused():
    with pytest.raises(SweepFault, match="target_epsilon: target_epsilon must be reachable"):
        sweep(delta=1e-300, target_epsilon=1e-9, steps=10**6, epochs=None).spec({}, num_examples=N)


def test_a_point_that_lacks_an_axis_is_refused():
    with pytest.raises(SweepFault, match="lr: must have a value at every point, found None"):
        sweep(lr=None, axes={"lr": [1]}).spec({}, num_examples=N)


@pytest.mark.parametrize(
    ("changed", "metric", "maximize"),
    [
        ({}, "accuracy", True),
        ({"objective": "loss"}, "loss", False),
        ({"metrics": []}, "loss", False),
        ({"metrics": ["clifftop.criteria:squared_error"]}, "squared_error", False),
        ({"metrics": ["clifftop.criteria:squared_error"], "maximize": True}, "squared_error", True),
    ],
)
def test_the_goal(changed, metric, maximize):
    assert dataclasses.astuple(sweep(**changed).goal) == (metric, maximize)


def test_a_factory_may_be_its_target():
    assert sweep().model == Factory(target="clifftop.studies.no_cliff.model:mlp")


@pytest.mark.parametrize("public", [True, False])
def test_what_shares_noise_is_released_only_if_public(public):
    if public:
        assert sweep(public=True, release="all").public
    else:
        with pytest.raises(SweepFault, match="share their noise"):
            sweep(release="all")


def test_a_sweep_of_an_earlier_version_is_read():
    made = sweep()
    old = json.loads(made.canonical)
    for name in ("counterfactuals", "original_model", "per_layer"):
        del old[name]
    assert sweep_from_json(json.dumps(old)) == made
    assert sweep_from_json(made.canonical) == made
    for text in (
        "{",
        "3",
        json.dumps({**old, "other": 1}),
        json.dumps({k: v for k, v in old.items() if k != "lr"}),
    ):
        with pytest.raises(CodecError):
            sweep_from_json(text)
