"""Which way each layer goes: within what may be kept, from sizes alone, the same after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import final

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.capture import capture
from clifftop.flow import Batch
from clifftop.gradients.base import PerExampleLoss, flat_groups, trainable_parameters
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.graph.choices import Choices, Measured, Predicted
from clifftop.gradients.graph.contributions import Choosable, Kept, Outer
from clifftop.gradients.graph.options import Option
from clifftop.gradients.loop import LoopEngine


def layer(size: int, positions: int, d: int, p: int) -> Outer:
    rng = torch.Generator().manual_seed(size + positions + d + p)
    return Outer(
        torch.randn(size, positions, d, generator=rng), torch.randn(size, positions, p, generator=rng)
    )


LAYERS = {"long": layer(4, 64, 16, 16), "short": layer(4, 2, 64, 64), "middle": layer(4, 16, 48, 48)}


@final
class Costs(Choices):
    """Given costs, to test what is made of them."""

    def __init__(self, kept_fraction: float, costs: Mapping[str, float]) -> None:
        self._fraction, self._costs = kept_fraction, costs

    @property
    def kept_fraction(self) -> float:
        return self._fraction

    def seconds(self, part: Choosable, options: Sequence[Option]) -> list[float]:
        return [self._costs[option.name] for option in options]


def names(picked: Mapping[str, Option]) -> dict[str, str]:
    return {name: option.name for name, option in picked.items()}


def test_the_quickest_is_picked_while_memory_lasts(monkeypatch: pytest.MonkeyPatch):
    costs = {"ghost": 2.0, "formed": 3.0, "kept": 1.0}
    assert set(names(Costs(0.0, costs)(LAYERS)).values()) == {"kept"}, "a few megabytes are always allowed"
    monkeypatch.setattr("clifftop.gradients.graph.choices._ALWAYS_ALLOWED", 0)
    needs = {n: next(o.kept_bytes for o in part.options() if o.name == "kept") for n, part in LAYERS.items()}
    assert needs["long"] == 1 < needs["middle"] < needs["short"]
    operands = sum(part.operand_bytes for part in LAYERS.values())
    for allowed in (0, 1, needs["middle"], needs["middle"] + 1, sum(needs.values())):
        picked = Costs((allowed + 0.5) / operands, costs)(LAYERS)
        assert sum(option.kept_bytes for option in picked.values()) <= allowed
        # The layer that costs the fewest bytes for the same time goes first.
        kept = [name for name in ("long", "middle", "short") if picked[name].name == "kept"]
        assert kept == ["long", "middle", "short"][: len(kept)]
        assert all(picked[n].name == "ghost" for n in picked if n not in kept)
    assert len(kept) == 3


def test_what_is_slower_is_never_kept():
    assert set(names(Costs(9.0, {"ghost": 3.0, "formed": 1.0, "kept": 2.0})(LAYERS)).values()) == {"formed"}


def test_predictions_follow_the_shapes():
    picked = names(Predicted()(LAYERS | {"wide": layer(4, 64, 512, 512)}))
    assert picked["long"] == "kept"
    assert picked["wide"] == "ghost"
    assert picked == names(Predicted()(LAYERS | {"wide": layer(4, 64, 512, 512)}))


def test_measurements_are_made_once_and_survive_a_restart(monkeypatch: pytest.MonkeyPatch):
    first = Measured(repetitions=1)
    picked = names(first(LAYERS))
    state = first.state_dict()
    assert len(state) == len(LAYERS)
    assert all(t > 0 for times in state.values() for t in times.values())
    again = Measured()
    again.load_state_dict(json.loads(json.dumps(state)))
    monkeypatch.setattr(Measured, "_time", None)  # would fail if anything were measured
    assert names(first(LAYERS)) == names(again(LAYERS)) == picked
    assert again.state_dict() == state
    with pytest.raises(TypeError):
        again({"new": layer(4, 3, 5, 7)})


def problem(kind: str) -> tuple[PerExampleLoss, dict[str, Tensor], Batch]:
    torch.manual_seed(0)
    module: nn.Module
    if kind == "images":
        module = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1)
        )
        x = torch.randn(1, 5, 1, 9, 9, dtype=torch.float64)
    else:
        module = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
        x = torch.randn(1, 5, 4, 6, dtype=torch.float64)
    y = torch.zeros(1, 5, dtype=torch.float64)
    module = module.double()
    params = {name: p[None] for name, p in trainable_parameters(module).items()}
    batch = Batch(inputs=(x,), targets=(y,), mask=torch.ones(1, 5, dtype=torch.bool))
    return PerExampleLoss(module=module, criterion=squares), params, batch


def squares(output: Tensor, target: Tensor) -> Tensor:
    return F.softplus(output).flatten(1).square().sum(1) - target


@final
class First(Choices):
    """The first way whose name is among some, else any that keeps nothing."""

    def __init__(self, *wanted: str) -> None:
        self.wanted, self.seen = wanted, set[str]()

    @property
    def kept_fraction(self) -> float:
        return 1e9

    def seconds(self, part: Choosable, options: Sequence[Option]) -> list[float]:
        self.seen |= {o.name for o in options if o.name in self.wanted}
        return [0.0 if o.name in self.wanted else 1.0 for o in options]


@pytest.mark.parametrize(
    "way", ["ghost", "formed", "kept", "grouped", "grouped, kept", "mirrored", "mirrored, kept", "shifted"]
)
def test_the_engine_is_exact_in_every_way(way: str):
    seen: set[str] = set()
    for kind in ("images", "tokens"):
        loss, params, batch = problem(kind)
        groups = flat_groups(params)
        choices = First(way)
        ours = GraphEngine(choices=choices)(loss, params, batch, groups)
        oracle = LoopEngine()(loss, params, batch, groups)
        torch.testing.assert_close(ours.sq_norms(), oracle.sq_norms(), rtol=1e-11, atol=0)
        weights = torch.linspace(-1, 1, 5, dtype=torch.float64)[None, :, None]
        total, expected = ours.weighted_sum(weights), oracle.weighted_sum(weights)
        for name, value in expected.items():
            torch.testing.assert_close(total[name], value, rtol=1e-11, atol=1e-12)
        seen |= choices.seen
    assert seen == {way}


@pytest.mark.parametrize("kind", ["images", "tokens"])
def test_equal_choices_give_equal_bits(kind: str):
    loss, params, batch = problem(kind)
    groups, weights = flat_groups(params), torch.ones(1, 5, 1, dtype=torch.float64)
    measured = Measured(repetitions=1)

    def step(choices: Choices) -> dict[str, Tensor]:
        grads = GraphEngine(choices=choices)(loss, params, batch, groups)
        return {"norms": grads.sq_norms(), **grads.weighted_sum(weights)}

    first = step(measured)
    again = Measured()
    again.load_state_dict(measured.state_dict())
    for name, value in step(again).items():
        assert torch.equal(value, first[name])


def test_measuring_leaves_no_trace_in_a_captured_step():
    part = LAYERS["middle"]

    def settled(choices: Choices) -> int:
        def work(operands: list[Tensor]) -> list[Tensor]:
            own = Outer(*operands)
            return [choices({"layer": own})["layer"].settle()[0]]

        return capture(work, list(part.operands)).num_operations

    measured = Measured(repetitions=1)
    assert settled(measured) == settled(measured)


def test_sums_run_within_the_backward_pass_where_they_can():
    """A normalisation between layers is done early; a first one has nothing behind it that would run it."""
    loss, params, batch = problem("tokens")
    plan = GraphEngine().study(loss, params, batch).plan
    assert plan is not None
    by_name = {value.names[0]: use.early for use in plan.uses for value in use.values.values()}
    assert by_name == {
        "0.weight": False, "0.bias": False, "1.weight": False, "1.bias": False,
        "2.weight": True, "2.bias": True, "4.weight": False, "4.bias": False,
    }  # fmt: skip


def test_kept_gradients_replace_their_operands():
    loss, params, batch = problem("tokens")
    grads = GraphEngine(choices=First("kept"))(loss, params, batch, flat_groups(params))
    (run,) = [grads]
    run.sq_norms()
    held = [part for part in vars(run)["_parts"].values() if isinstance(part, (Kept, Outer))]
    assert held
    assert all(isinstance(part, Kept) for part in held)
