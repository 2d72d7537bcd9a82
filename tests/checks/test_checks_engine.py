"""The engine is held to the loop: wrong ones are caught, right ones are not."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from clifftop.checks import NotPrivate, Status, check
from clifftop.checks import oracle as oracle_module
from clifftop.gradients import LoopEngine, TapeEngine, UnsupportedModule, VmapEngine
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.graph import engine as engine_module


@dataclass(frozen=True)
class Wrong:
    """The vmap engine, with one thing wrong."""

    spoil: object

    def __call__(self, loss, params, batch, groups, draws=None):
        grads = VmapEngine()(loss, params, batch, groups, draws)
        return self.spoil(grads)


class Sum:
    """Rows whose weighted sum is another."""

    def __init__(self, grads, change):
        self.losses, self._grads, self._change = grads.losses, grads, change

    def sq_norms(self):
        return self._grads.sq_norms()

    def weighted_sum(self, weights):
        return self._change(self._grads, weights)


def scaled_bias(grads):
    return replace(grads, rows=grads.rows | {"0.bias": 1.001 * grads.rows["0.bias"]})


def swapped_examples(grads):
    return replace(grads, rows={n: r.flip(1) for n, r in grads.rows.items()})


def wrong_losses(grads):
    return replace(grads, losses=grads.losses * 2)


def live_padding(grads):
    rows = {n: r.clone() for n, r in grads.rows.items()}
    for row in rows.values():
        row[:, -1] += 1e-3
    return replace(grads, rows=rows)


def padding_in_sum(grads):
    def change(grads, weights):
        found = grads.weighted_sum(weights)
        return found | {"2.weight": found["2.weight"] + 0.01 * weights[0, -1, 0]}

    return Sum(grads, change)


def average(grads):
    return Sum(grads, lambda g, w: {n: x / 4 for n, x in g.weighted_sum(w).items()})


def missing_cross_term(grads):
    """Flat norms without one parameter: right in parts, wrong together."""
    if len(set(grads.groups.values())) > 1:
        return grads
    return replace(grads, rows={n: r if n != "2.bias" else 0 * r for n, r in grads.rows.items()})


WRONG = {
    "scaled": (scaled_bias, "a norm of parameter '0.bias'"),
    "swapped": (swapped_examples, "a norm of parameter '0.weight'"),
    "losses": (wrong_losses, "a loss"),
    "padding's norm": (live_padding, "a norm of padding"),
    "padding in the sum": (padding_in_sum, "a weighted sum of parameter '2.weight'"),
    "average": (average, "a weighted sum of parameter '0.weight'"),
    "flat": (missing_cross_term, "a norm over all parameters"),
}


def looked(engine, model=None, *, dtype=torch.float32, criterion=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) if model is None else model
    return check(
        module=model.to(dtype),
        criterion=nn.CrossEntropyLoss(reduction="none") if criterion is None else criterion,
        inputs=[torch.randn(6, 4).to(dtype)],
        targets=[torch.randint(3, (6,))],
        engine=engine,
    )


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_engine_is_caught_and_a_right_one_named(name):
    spoil, what = WRONG[name]
    report = looked(Wrong(spoil))
    assert [f.check for f in report.problems] == ["engine"], str(report)
    message = report.problems[0].message
    assert message.startswith("Wrong must give each example's own gradient, found ")
    assert what in message
    assert "use VmapEngine(), which agrees with the loop here" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "engine", [GraphEngine(), TapeEngine(), VmapEngine(), LoopEngine()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_right_engine_passes(engine, dtype):
    assert looked(engine, dtype=dtype).ok


def test_half_precision_is_no_false_alarm():
    report = looked(VmapEngine(), dtype=torch.bfloat16)
    assert report.ok, str(report)
    assert "half precision" in report.warnings[0].message


def test_an_error_of_a_millionth_shows_in_float64():
    def slightly(grads):
        return replace(grads, rows={n: r * (1 + 1e-6) for n, r in grads.rows.items()})

    assert not looked(Wrong(slightly)).ok


def test_an_engine_that_refuses_is_quoted_with_its_own_remedy():
    class Refuses:
        def __call__(self, loss, params, batch, groups, draws=None):
            raise UnsupportedModule("a model must be simpler, found '0' (Linear); use LoopEngine()")

    report = looked(Refuses())
    with pytest.raises(NotPrivate, match=r"found '0' \(Linear\); use LoopEngine"):
        report.require()
    assert {row.status for row in report.rows} == {Status.REFUSED}


def test_an_engine_that_fails_is_named_with_one_that_works():
    class Fails:
        def __call__(self, loss, params, batch, groups, draws=None):
            raise NotImplementedError("not for this layer\nsecond line")

    message = looked(Fails()).problems[0].message
    assert message.startswith("Fails must run on the model, found that it fails in")
    assert "use VmapEngine(), which agrees" in message


def test_the_loop_stops_when_the_time_is_up(monkeypatch):
    """One example is compared however slow the model is."""
    seen: list[int] = []

    @dataclass(frozen=True)
    class Counting:
        def __call__(self, *args):
            seen.append(1)
            return LoopEngine()(*args)

    monkeypatch.setattr(oracle_module, "LoopEngine", Counting)
    ticks = iter(range(0, 1000, 100))
    monkeypatch.setattr(oracle_module.time, "monotonic", lambda: float(next(ticks)))
    assert looked(TapeEngine(), dtype=torch.float64).ok
    assert len(seen) == 1


def test_dropout_is_the_same_for_the_loop_and_the_engine():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    assert looked(TapeEngine(), model).ok


def test_gradients_that_are_not_finite_are_a_warning():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return (x * self.scale).square().sum(-1).sqrt()

    report = looked(TapeEngine(), Root(), criterion=lambda out, y: out)
    assert any("per-example gradients should be finite" in f.message for f in report.warnings), str(report)


def test_a_copy_in_float64_does_not_stay_in_the_engine():
    engine, model = TapeEngine(), nn.Linear(4, 3)
    assert looked(engine, model).ok
    assert list(engine._traces) == [model]


def test_rules_are_named_where_the_engine_has_them():
    assert [row.by for row in looked(TapeEngine()).rows] == ["TapeEngine: LinearRule"] * 4
    assert {row.by for row in looked(VmapEngine()).rows} == {"VmapEngine"}
    assert [row.by for row in looked(GraphEngine()).rows] == ["GraphEngine: addmm"] * 4


class Odd(nn.Module):
    """A layer that is used twice, by a call and as a matrix, and a parameter without a rule of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.power = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return (torch.tanh(self.layer(x)) @ self.layer.weight).square().add(1).pow(self.power)


def test_the_graphs_rules_are_those_of_the_operations_that_a_parameter_enters():
    by = {row.name: row.by for row in looked(GraphEngine(), Odd()).rows}
    assert by == {
        "power": "GraphEngine: by_masks",
        "layer.weight": "GraphEngine: mm, addmm",
        "layer.bias": "GraphEngine: addmm",
    }


def test_a_model_is_studied_once_for_its_copy_too(monkeypatch):
    """A plan that did not fit the copy would be found out: the engine that took it over is compared."""
    studies = []
    study = engine_module._study
    monkeypatch.setattr(engine_module, "_study", lambda *args: studies.append(1) or study(*args))
    engine, model = GraphEngine(), nn.Linear(4, 3)
    assert looked(engine, model).ok
    assert len(studies) == 1
    assert list(engine._known) == [model]


def test_the_default_engine_is_the_trainers():
    assert looked(None).rows[0].by == "GraphEngine: addmm"


def test_the_oracle_is_not_compared_with_itself(monkeypatch):
    monkeypatch.setattr(oracle_module, "_truth", lambda *a, **k: pytest.fail("compared"))
    assert looked(LoopEngine()).ok
