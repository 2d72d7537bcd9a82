"""The graph engine: what it reads from PyTorch, where the examples lie, and when it steps aside."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.criteria import cross_entropy
from clifftop.flow import Batch
from clifftop.gradients import GraphEngine, LoopEngine, PerExampleLoss, TapeEngine, UnsupportedModule
from clifftop.gradients.base import constant_tensors, flat_groups, trainable_parameters
from clifftop.gradients.graph import operations, record_call
from clifftop.gradients.graph.layout import Layout, find_layout
from clifftop.gradients.graph.operations import by_masks
from clifftop.gradients.graph.plan import GraphPlan
from clifftop.testing.gradients import Outcome, SeededDraws, check_engine, make_case
from clifftop.testing.problems import PROBLEMS

BY_NAME = {p.name: p for p in PROBLEMS}


def plan_of(name: str) -> GraphPlan:
    engine, case = GraphEngine(), make_case(BY_NAME[name], num_runs=1)
    plan = engine.study(case.loss, case.params, case.batch).plan
    assert plan is not None
    return plan


# What PyTorch's nodes save is not promised by anyone: a new version that renames it must show here, not
# as a slow step.
SAVED = {
    lambda x, w: F.linear(x, w, w[:, 0]): ("AddmmBackward0", ["mat1", "mat2", "alpha", "beta"]),
    lambda x, w: x @ w.t(): ("MmBackward0", ["self", "mat2"]),
    lambda x, w: torch.bmm(x[None], w.t()[None]): ("BmmBackward0", ["self", "mat2"]),
    lambda x, w: F.conv1d(x[:, None], w[:, None]): (
        "ConvolutionBackward0",
        ["input", "stride", "padding", "dilation", "output_padding", "groups", "transposed"],
    ),
    lambda x, w: F.embedding(x.long().abs() % 2, w): (
        "EmbeddingBackward0",
        ["indices", "padding_idx", "scale_grad_by_freq"],
    ),
    lambda x, w: F.embedding_bag(x.long().abs() % 2, w, mode="sum"): (
        "EmbeddingBagBackward0",
        ["indices", "mode", "result1", "result2", "padding_idx", "per_sample_weights", "scale_grad_by_freq"],
    ),
    lambda x, w: F.layer_norm(x, (3,), w[0], w[1]): (
        "NativeLayerNormBackward0",
        ["input", "result1", "result2"],
    ),
    lambda x, w: F.group_norm(x, 1, w[0], w[1]): (
        "NativeGroupNormBackward0",
        ["input", "result1", "result2", "C", "HxW", "group"],
    ),
    lambda x, w: x[:, :2, None] * w: ("MulBackward0", ["self", "other"]),
    lambda x, w: x[:, :2, None] + w: ("AddBackward0", ["alpha"]),
    lambda x, w: x[:, :2, None] - w: ("SubBackward0", ["alpha"]),
    lambda x, w: w[x.long().abs()[:, 0] % 2]: ("IndexBackward0", ["indices"]),
    lambda x, w: w.index_select(0, x.long().abs()[:, 0] % 2): ("IndexSelectBackward0", ["dim", "index"]),
}


@pytest.mark.parametrize("call", SAVED, ids=lambda c: SAVED[c][0])
def test_pytorch_saves_what_the_rules_read(call):
    name, saved = SAVED[call]
    x, w = torch.randn(4, 3), torch.randn(2, 3, requires_grad=True)
    nodes = [call(x, w).grad_fn]
    while nodes and type(nodes[0]).__name__ != name:
        node = nodes.pop(0)
        nodes += [child for child, _ in node.next_functions if child is not None]
    assert nodes, f"no {name}"
    for attribute in saved:
        assert hasattr(nodes[0], f"_saved_{attribute}"), attribute


def test_no_rule_is_forgotten_in_the_table_above():
    kinds = {kind for kind, _, _, _ in operations._RULES} - {"ExpandBackward0"}
    assert kinds == {name for name, _ in SAVED.values()}


@pytest.mark.parametrize("name", ["mlp", "linear on three axes", "group norm", "cnn with a head", "lstm"])
def test_ordinary_layers_have_rules(name: str):
    assert not plan_of(name).has_masks


def test_a_missing_saved_tensor_costs_speed_alone(monkeypatch: pytest.MonkeyPatch):
    def renamed(use):
        return use.node._saved_something_else

    rules = tuple((kind, inputs, renamed, suits) for kind, inputs, _, suits in operations._RULES)
    monkeypatch.setattr(operations, "_RULES", rules)
    for name in ("mlp", "group norm", "tied linear pair"):
        assert all(use.rule is by_masks for use in plan_of(name).uses)
        assert check_engine(GraphEngine(), BY_NAME[name], num_runs=1) is Outcome.EQUAL


def test_a_wrong_rule_is_noticed_before_it_is_used(monkeypatch: pytest.MonkeyPatch, caplog):
    """The study holds every plan to autograd, so a wrong rule leads to another engine."""
    rules = []
    for kind, inputs, rule, suits in operations._RULES:

        def doubled(use, rule=rule):
            finish = rule(use)
            return lambda grads: finish([None if g is None else 2 * g for g in grads])

        rules.append((kind, inputs, doubled, suits))
    monkeypatch.setattr(operations, "_RULES", tuple(rules))
    with caplog.at_level(logging.INFO, "clifftop.gradients.graph.engine"):
        assert check_engine(GraphEngine(), BY_NAME["mlp"], num_runs=1) is Outcome.EQUAL
    assert "must equal autograd's" in caplog.text


def test_layouts_are_told_apart_by_the_examples_weights():
    weights = torch.tensor([0.5, -2.0, 4.0])
    plain = torch.randn(6, 4)
    for layout in (Layout(axis=0, before=1, after=2), Layout(axis=0, before=2, after=1)):
        weighted = plain * layout.per_element(weights, 2)
        assert find_layout((4, 4), (6, 4), plain, weighted, weights) == layout
    mixed = plain * torch.randn(6, 1)
    assert find_layout((4, 4), (6, 4), plain, mixed, weights) is None
    assert find_layout((4, 4), (6, 4), torch.zeros(6, 4), torch.zeros(6, 4), weights) is None


class Switching(nn.Module):
    """Takes another way from the second call on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.late = False

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x)) if self.late else self.layer(x)


def test_a_model_that_changes_its_way_is_still_exact():
    module = Switching().double()
    params = {n: p[None] for n, p in trainable_parameters(module).items()}
    batch = Batch(
        inputs=(torch.randn(1, 5, 4, dtype=torch.float64),),
        targets=(torch.randint(3, (1, 5)),),
        mask=torch.ones(1, 5, dtype=torch.bool),
    )
    loss, engine = PerExampleLoss(module=module, criterion=cross_entropy), GraphEngine()
    for module.late in (False, True, False):
        ours = engine(loss, params, batch, flat_groups(params))
        theirs = LoopEngine()(loss, params, batch, flat_groups(params))
        torch.testing.assert_close(ours.sq_norms(), theirs.sq_norms(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_gradients_behind_the_users_own_backward_pass(size: int):
    torch.manual_seed(size)
    module = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.4), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(size, 4, dtype=torch.float64), torch.randint(3, (size,))
    draws, engine = SeededDraws(seeds=(3,)), GraphEngine()
    call = record_call(engine, module, [x], draws=draws)
    output = call.output.detach().requires_grad_()
    (F.cross_entropy(output, y, reduction="sum")).backward()
    params = {n: p[None] for n, p in trainable_parameters(module).items()}
    found = call.gradients([output.grad], flat_groups(params))
    batch = Batch(inputs=(x[None],), targets=(y[None],), mask=torch.ones(1, size, dtype=torch.bool))
    expected = LoopEngine()(
        PerExampleLoss(module=module, criterion=cross_entropy), params, batch, flat_groups(params), draws
    )
    torch.testing.assert_close(found.sq_norms(), expected.sq_norms(), rtol=1e-10, atol=0)
    weights = torch.rand(1, size, 1, dtype=torch.float64)
    for name, value in expected.weighted_sum(weights).items():
        torch.testing.assert_close(found.weighted_sum(weights)[name], value, rtol=1e-10, atol=1e-14)
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("engine", [GraphEngine(), TapeEngine()], ids=["graph", "tape"])
def test_bfloat16_norms_are_those_of_the_rows_that_are_summed(engine):
    """Norms and sums must see the same numbers, whatever their precision: that is what the bound needs."""
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def criterion(output: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(output.float(), target)

    class Half(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.inner(x)

    half = Half(module)
    params = {n: p[None] for n, p in trainable_parameters(half).items()}
    batch = Batch(
        inputs=(torch.randn(1, 6, 8),),
        targets=(torch.randint(3, (1, 6)),),
        mask=torch.ones(1, 6, dtype=torch.bool),
    )
    loss = PerExampleLoss(module=half, criterion=criterion, constants={})
    if isinstance(engine, TapeEngine):
        # Its sums are float32 of the same operands, which autograd's bfloat16 sums do not equal.
        with pytest.raises(UnsupportedModule, match="must equal autograd's"):
            engine(loss, params, batch, flat_groups(params))
        return
    grads = engine(loss, params, batch, flat_groups(params))
    norms = grads.sq_norms()[0, :, 0].sqrt()
    for b in range(6):
        one = torch.zeros(1, 6, 1)
        one[0, b] = 1 / norms[b]
        row = torch.cat([v.flatten() for v in grads.weighted_sum(one).values()])
        assert abs(float(row.double().norm()) - 1) < 1e-6


def test_constants_are_the_modules_own():
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3).eval())
    assert set(constant_tensors(module)) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
