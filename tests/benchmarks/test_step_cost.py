"""The parts of ``benchmarks/step_cost.py`` and ``benchmarks/fashion_cnn.py`` that decide what is printed."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def part(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_a_ratio_is_of_one_round_so_that_a_busy_minute_cancels(part):
    ratio = part("steps.measure").ratio
    plain = [{"cpu": 1.0}, {"cpu": 5.0}, {"cpu": 1.1}]
    private = [{"cpu": 2.0}, {"cpu": 10.0}, {"cpu": 2.2}]
    assert ratio(private, plain, "cpu") == {"q25": 2.0, "median": 2.0, "q75": 2.0}


def test_an_engine_that_clips_elsewhere_disagrees_with_the_reference(part):
    reference, by_hand, tasks = (part(f"steps.{name}") for name in ("reference", "by_hand", "tasks"))
    task = tasks.TASKS["tiny"]
    expected = reference.updates(task)

    def error(settings):
        engine = by_hand.VmapByHand(task, settings)
        before = {name: p.clone() for name, p in engine.parameters().items()}
        for _ in range(reference.STEPS):
            engine.step()
        return reference.relative_error(expected, before, engine.parameters())

    assert error(reference.CHECK) < 1e-5
    wrong = dataclasses.replace(reference.CHECK, clip_norm=reference.CHECK.clip_norm * 1.01)
    assert error(wrong) > reference.TOLERANCE


def test_an_engine_that_adds_too_little_noise_is_found(part):
    reference, by_hand, tasks = (part(f"steps.{name}") for name in ("reference", "by_hand", "tasks"))

    class Quiet(by_hand.VmapByHand):
        def step(self):
            claimed = self.settings
            self.settings = dataclasses.replace(claimed, noise_multiplier=0.9 * claimed.noise_multiplier)
            super().step()
            self.settings = claimed

    task, settings = dataclasses.replace(tasks.TASKS["mlp"], batch_size=8), part("steps.base").Settings()
    torch.manual_seed(0)
    for kind, right in ((by_hand.VmapByHand, True), (Quiet, False)):
        engine = kind(task, settings)
        # 270,000 normals: five standard errors are 0.7%, the gradient's own move has the rest.
        assert (abs(reference.noise_found(engine) - 1) <= reference.noise_tolerance(engine)) is right


def test_the_reference_through_sparse_tables_is_that_through_dense_ones(part):
    reference, tasks = part("steps.reference"), part("steps.tasks")
    small = dataclasses.replace(
        tasks.TASKS["rec"],
        batch_size=6,
        draw=tasks.clicks(4),
        build=lambda: tasks.Recommender(rows=4),
        build_sparse=lambda: tasks.Recommender(rows=4, sparse=True),
    )
    sparse = reference.updates(small)
    dense = reference.updates(dataclasses.replace(small, build_sparse=None))
    for name, change in dense.items():
        torch.testing.assert_close(sparse[name], change, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_gradients_of_a_convolution_count_as_its_forward_pass_does(part, groups, transposed):
    counting = part("steps.flops").counting
    x, weight = (
        torch.randn(2, 8, 6, 6, requires_grad=True),
        torch.randn(8, 8 // groups, 3, 3, requires_grad=True),
    )
    convolve = F.conv_transpose2d if transposed else F.conv2d
    with counting() as forward:
        out = convolve(x, weight, stride=2, groups=groups)
    with counting() as backward:
        out.sum().backward()
    assert forward.get_total_flops() > 0
    assert backward.get_total_flops() == 2 * forward.get_total_flops()


def test_a_reason_is_one_line_without_a_path(part):
    reason = part("steps.worker").reason
    assert reason(ValueError("cannot read /some/where now\nsecond line")) == "ValueError: cannot read now"


def test_every_engine_is_named_once_and_sparse_steps_need_tables(part):
    registry, tasks = part("steps.registry"), part("steps.tasks")
    assert set(registry.applicable(tasks.TASKS["rec"], [])) == {"plain", "plain sparse"}
    assert registry.applicable(tasks.TASKS["mlp"], ["plain sparse", "opake"]) == ["plain", "opake"]
    kinds = (registry.UNPRIVATE, registry.OURS, registry.RIVALS, registry.BY_HAND)
    assert sum(map(len, kinds)) == len(registry.ENGINES)


def test_a_difference_of_accuracies_comes_with_its_standard_error(part):
    compared = part("fashion_cnn").compared
    runs = [
        {"library": library, "accuracy": accuracy, "cpu_seconds": seconds, "wall_seconds": 2 * seconds}
        for library, seconds, accuracies in (("clifftop", 4.0, (0.80, 0.84)), ("opacus", 10.0, (0.79, 0.81)))
        for accuracy in accuracies
    ]
    found = compared(runs)
    assert found["difference"] == pytest.approx(0.02)
    assert found["standard_error"] == pytest.approx((0.0004 + 0.0001) ** 0.5, rel=1e-3)
    assert found["cpu_ratio"]["median"] == pytest.approx(0.4)
