"""Rows of embedding tables against the gradient of each example alone."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, TapeEngine
from clifftop.gradients.base import trainable_parameters
from clifftop.gradients.rules import EmbeddingRule, FallbackRule, embedding, rule_for
from clifftop.gradients.rules.base import LeafCall

R, B, V, D = 2, 4, 7, 3
TABLES = {
    "embedding": (lambda: nn.Embedding(V, D), (5,)),
    "one read": (lambda: nn.Embedding(V, D), ()),
    "several axes": (lambda: nn.Embedding(V, D), (2, 3)),
    "padding": (lambda: nn.Embedding(V, D, padding_idx=2), (5,)),
    "padding from the end": (lambda: nn.Embedding(V, D, padding_idx=-1), (5,)),
    "sparse": (lambda: nn.Embedding(V, D, sparse=True), (5,)),
    "bag sum": (lambda: nn.EmbeddingBag(V, D, mode="sum"), (5,)),
    "bag mean": (lambda: nn.EmbeddingBag(V, D, mode="mean"), (5,)),
    "bag mean, padding": (lambda: nn.EmbeddingBag(V, D, mode="mean", padding_idx=2), (5,)),
    "bag sum, padding, sparse": (lambda: nn.EmbeddingBag(V, D, mode="sum", padding_idx=2, sparse=True), (5,)),
}


def expected(table: nn.Module, ids: torch.Tensor, g: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    rows = torch.zeros(R, B, V, D, dtype=torch.float64)
    for r, b in product(range(R), range(B)):
        out = table(ids[r, b : b + 1], *rest)
        (grad,) = torch.autograd.grad((out * g[r, b : b + 1]).sum(), table.weight)
        rows[r, b] = grad.to_dense()
    return rows


@pytest.mark.parametrize("name", TABLES)
def test_rule_equals_one_example_at_a_time(name: str):
    build, sizes = TABLES[name]
    table = build().double()
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, V, (R, B, *sizes), generator=rng)
    ids[0, 0] = 2  # an example of nothing but one row, which is padding in some tables
    g = torch.randn(R, B, *table(ids.flatten(0, 1)).shape[1:], generator=rng, dtype=torch.float64)
    rows = expected(table, ids, g)
    assert isinstance(rule_for(table), FallbackRule if table.sparse else EmbeddingRule)
    call = LeafCall(
        path="t",
        module=table,
        names={"weight": "t.weight"},
        inputs=(ids,),
        input_has_examples=(True,),
        output_grads=(g,),
    )
    rule = EmbeddingRule()
    weights = torch.rand(R, B, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(rule.instantiate(call)["weight"], rows, rtol=1e-12, atol=1e-13)
    norms = rows.flatten(2).square().sum(-1)
    torch.testing.assert_close(rule.sq_norms(call)["weight"], norms, rtol=1e-12, atol=1e-13)
    total = torch.einsum("rb,rb...->r...", weights, rows)
    torch.testing.assert_close(
        rule.weighted_sum(call, {"weight": weights})["weight"], total, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("padding_idx", [None, 2])
@pytest.mark.parametrize("positions", [1, 2, 40])
def test_functions_equal_rows_in_memory(positions: int, padding_idx: int | None):
    rng = torch.Generator().manual_seed(positions)
    ids = torch.randint(0, V, (B, positions), generator=rng)
    g = torch.randn(B, positions, D, generator=rng, dtype=torch.float64)
    w = torch.rand(B, generator=rng, dtype=torch.float64)
    rows = torch.zeros(B, V, D, dtype=torch.float64)
    for b, t in product(range(B), range(positions)):
        if int(ids[b, t]) != padding_idx:
            rows[b, ids[b, t]] += g[b, t]
    norms = embedding.sq_norms(ids, g, padding_idx=padding_idx)
    torch.testing.assert_close(norms, rows.square().sum((1, 2)), rtol=1e-12, atol=1e-13)
    dense = embedding.weighted_sum(ids, g, w, V, padding_idx=padding_idx)
    torch.testing.assert_close(dense, torch.einsum("b,bvd->vd", w, rows), rtol=1e-12, atol=1e-13)
    sparse = embedding.weighted_sum(ids, g, w, V, padding_idx=padding_idx, sparse=True)
    assert sparse.is_sparse
    assert sparse.is_coalesced()
    assert sparse.indices().flatten().tolist() == sorted(set(ids.flatten().tolist()))
    torch.testing.assert_close(sparse.to_dense(), dense, rtol=1e-12, atol=1e-13)


def test_norms_need_equal_rows_added_first():
    """Two reads of one row that cancel: norm 0, where the sum of the reads' norms is 2."""
    ids, g = torch.tensor([[3, 3]]), torch.tensor([[[1.0], [-1.0]]])
    assert embedding.sq_norms(ids, g).item() == 0
    assert embedding.sq_norms(torch.tensor([[3, 4]]), g).item() == pytest.approx(2)


def test_per_sample_weights():
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.EmbeddingBag(V, D, mode="sum")
            self.importance = nn.Parameter(torch.linspace(0.5, 1.5, 5))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.table(ids, per_sample_weights=self.importance * torch.ones_like(ids))

    model = Weighted().double()
    # The weights' own gradient is the outer module's affair, which owns a parameter and is one leaf.
    assert isinstance(rule_for(model.table), EmbeddingRule)
    rng = torch.Generator().manual_seed(3)
    ids = torch.randint(0, V, (R, B, 5), generator=rng)
    psw = torch.rand(R, B, 5, generator=rng, dtype=torch.float64)
    g = torch.randn(R, B, D, generator=rng, dtype=torch.float64)
    call = LeafCall(
        path="table",
        module=model.table,
        names={"weight": "table.weight"},
        inputs=(ids, psw),
        input_has_examples=(True, True),
        output_grads=(g,),
    )
    rows = torch.zeros(R, B, V, D, dtype=torch.float64)
    for r, b, t in product(range(R), range(B), range(5)):
        rows[r, b, ids[r, b, t]] += psw[r, b, t] * g[r, b]
    torch.testing.assert_close(EmbeddingRule().instantiate(call)["weight"], rows)


@pytest.mark.parametrize(
    "table",
    [
        nn.Embedding(V, D, max_norm=1.0),
        nn.Embedding(V, D, scale_grad_by_freq=True),
        nn.EmbeddingBag(V, D, mode="max"),
    ],
)
def test_what_is_not_a_sum_of_rows_has_no_rule(table: nn.Module):
    assert isinstance(rule_for(table), FallbackRule)


def test_a_large_table_is_never_copied_for_each_example():
    """64 examples of a table of 13 MB: instantiated they would need 0.8 GB, and the norms need none of it."""

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(200_000, 16)
            self.head = nn.Linear(16, 1)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(ids).mean(1)).squeeze(1)

    model, size = Mean(), 64
    ids = torch.randint(0, 200_000, (1, size, 3), generator=torch.Generator().manual_seed(0))
    params = {name: p[None] for name, p in trainable_parameters(model).items()}
    batch = Batch(inputs=(ids,), targets=(torch.zeros(1, size),), mask=torch.ones(1, size, dtype=torch.bool))
    loss = PerExampleLoss(module=model, criterion=lambda y, t: (y - t).square())
    groups = dict.fromkeys(params, 0)
    grads = TapeEngine()(loss, params, batch, groups)
    few = Batch(inputs=(ids[:, :2],), targets=(torch.zeros(1, 2),), mask=batch.mask[:, :2])
    oracle = LoopEngine()(loss, params, few, groups)
    torch.testing.assert_close(grads.sq_norms()[:, :2], oracle.sq_norms(), rtol=1e-5, atol=0)
