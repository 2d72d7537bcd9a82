"""The loop oracle against gradients derived by hand, against autograd, and against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clifftop.flow import Batch
from clifftop.gradients.base import PerExampleLoss, flat_groups, stack_runs, trainable_parameters
from clifftop.gradients.instantiated import InstantiatedGrads, row_sq_norms, without_padding
from clifftop.gradients.loop import LoopEngine
from clifftop.testing.gradients import make_case
from clifftop.testing.problem import Problem, class_cross_entropy
from clifftop.testing.problems import PROBLEMS

R, B, D, K = 3, 4, 5, 3


def half_squared_error(output, target):
    return 0.5 * (output - target).square().sum(dim=1)


def linear_case(criterion, targets):
    """R linear models of D inputs and K outputs, each with its own B examples."""
    rng = torch.Generator().manual_seed(1)
    module = nn.Linear(D, K).double()
    params = {
        "weight": torch.randn(R, K, D, generator=rng, dtype=torch.float64),
        "bias": torch.randn(R, K, generator=rng, dtype=torch.float64),
    }
    x = torch.randn(R, B, D, generator=rng, dtype=torch.float64)
    batch = Batch(inputs=(x,), targets=(targets(rng),), mask=torch.ones(R, B, dtype=torch.bool))
    return PerExampleLoss(module=module, criterion=criterion), params, batch


def outputs(params, x):
    return torch.einsum("rkd,rbd->rbk", params["weight"], x) + params["bias"].unsqueeze(1)


def test_linear_regression_by_hand():
    """Loss |Wx + c - y|^2 / 2, residual r: the gradient is (r x^T, r), its squared norm |r|^2 (|x|^2 + 1)."""
    loss, params, batch = linear_case(
        half_squared_error, lambda rng: torch.randn(R, B, K, generator=rng, dtype=torch.float64)
    )
    x, y = batch.inputs[0], batch.targets[0]
    residual = outputs(params, x) - y
    grads = LoopEngine()(loss, params, batch, flat_groups(params))
    torch.testing.assert_close(grads.losses, 0.5 * residual.square().sum(-1), rtol=1e-13, atol=0)
    torch.testing.assert_close(
        grads.rows["weight"], torch.einsum("rbk,rbd->rbkd", residual, x), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(grads.rows["bias"], residual, rtol=1e-12, atol=0)
    by_hand = residual.square().sum(-1) * (x.square().sum(-1) + 1)
    torch.testing.assert_close(grads.sq_norms(), by_hand.unsqueeze(-1), rtol=1e-12, atol=0)


def test_softmax_regression_by_hand():
    """Cross entropy: the gradient is (softmax - onehot) x^T."""
    loss, params, batch = linear_case(
        class_cross_entropy, lambda rng: torch.randint(K, (R, B), generator=rng)
    )
    x, y = batch.inputs[0], batch.targets[0]
    error = torch.softmax(outputs(params, x), dim=-1) - F.one_hot(y, K)
    grads = LoopEngine()(loss, params, batch, {"weight": 0, "bias": 1})
    torch.testing.assert_close(
        grads.rows["weight"], torch.einsum("rbk,rbd->rbkd", error, x), rtol=1e-12, atol=1e-14
    )
    squares = error.square().sum(-1)
    by_hand = torch.stack([squares * x.square().sum(-1), squares], dim=-1)
    torch.testing.assert_close(grads.sq_norms(), by_hand, rtol=1e-12, atol=0)
    weights = torch.linspace(-1, 1, R * B * 2, dtype=torch.float64).reshape(R, B, 2)
    total = grads.weighted_sum(weights)
    torch.testing.assert_close(
        total["weight"], torch.einsum("rb,rbk,rbd->rkd", weights[..., 0], error, x), rtol=1e-12, atol=1e-14
    )
    torch.testing.assert_close(
        total["bias"], torch.einsum("rb,rbk->rk", weights[..., 1], error), rtol=1e-12, atol=1e-14
    )


# Embedding by frequency divides by counts over the batch: its summed gradient is another one. And with
# no parameter in the loss there is nothing to differentiate.
EXCEPTIONS = ("dropout", "embedding by frequency", "no parameter reaches")
INDEPENDENT = [p for p in PROBLEMS if not p.name.startswith(EXCEPTIONS)]


@pytest.mark.parametrize("problem", INDEPENDENT, ids=lambda p: p.name)
def test_sum_is_the_gradient_of_the_summed_loss(problem: Problem):
    """Weights of 1 give what plain autograd gives for the whole batch, run by run."""
    case = make_case(problem, num_runs=2, batch_size=3, seed=7)
    grads = case.gradients(LoopEngine())
    total = grads.weighted_sum(torch.ones(2, 3, 1, dtype=torch.float64))
    for r in range(2):
        leaves = {n: p[r].clone().requires_grad_() for n, p in case.params.items()}
        constants = {n: c[r].clone() for n, c in case.loss.constants.items()}
        losses = case.loss(
            leaves, constants, [x[r] for x in case.batch.inputs], [y[r] for y in case.batch.targets]
        )
        torch.testing.assert_close(grads.losses[r], losses.detach(), rtol=1e-11, atol=1e-12)
        whole = torch.autograd.grad(
            losses.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        for name, gradient in zip(leaves, whole, strict=True):
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            torch.testing.assert_close(total[name][r], dense, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["mlp", "conv strided", "lstm", "dropout", "tied embedding and head"])
def test_finite_differences(name: str):
    """Each example's gradient along a random direction is the slope of its own loss."""
    problem = next(p for p in PROBLEMS if p.name == name)
    case = make_case(problem, num_runs=2, batch_size=3, seed=3)
    grads = case.gradients(LoopEngine())
    assert isinstance(grads, InstantiatedGrads)
    rng = torch.Generator().manual_seed(0)
    step = 1e-6
    direction = {n: torch.randn(p.shape, generator=rng, dtype=p.dtype) for n, p in case.params.items()}
    slopes = sum((grads.rows[n] * d.unsqueeze(1)).flatten(2).sum(-1) for n, d in direction.items())
    ahead, behind = (
        replace(case, params={n: p + sign * step * direction[n] for n, p in case.params.items()})
        for sign in (1, -1)
    )
    difference = ahead.gradients(LoopEngine()).losses - behind.gradients(LoopEngine()).losses
    torch.testing.assert_close(slopes, difference / (2 * step), rtol=1e-6, atol=1e-7)


def test_padding_is_never_evaluated():
    """Padding that would raise (a token out of range) is not looked at, in any run."""
    problem = next(p for p in PROBLEMS if p.name == "embedding")
    case = make_case(problem, num_runs=2, batch_size=4)
    mask = torch.tensor([[False, False, False, False], [False, True, True, False]])
    tokens = case.batch.inputs[0].masked_fill(~mask.unsqueeze(-1), -1)
    batch = Batch(inputs=(tokens,), targets=case.batch.targets, mask=mask)
    grads = replace(case, batch=batch).gradients(LoopEngine())
    assert (grads.losses != 0).equal(mask)
    assert (grads.sq_norms()[..., 0] != 0).equal(mask)
    empty = replace(case, batch=replace(batch, mask=torch.zeros_like(mask))).gradients(LoopEngine())
    assert (empty.sq_norms() == 0).all()
    assert all((s == 0).all() for s in empty.weighted_sum(torch.ones(2, 4, 1)).values())


def test_without_padding_keeps_real_rows():
    x = torch.arange(8.0).reshape(2, 4)
    mask = torch.tensor([[False, False, True, True], [False, True, False, False]])
    filled = without_padding(Batch(inputs=(x,), targets=(), mask=mask))
    assert filled is not None
    assert filled.inputs[0].tolist() == [[2, 2, 2, 3], [2, 5, 2, 2]]
    assert without_padding(Batch(inputs=(x,), targets=(), mask=torch.zeros_like(mask))) is None


def test_dtype_follows_parameters():
    module = nn.Linear(D, K)
    params = stack_runs([trainable_parameters(module)])
    batch = Batch(
        inputs=(torch.ones(1, 2, D),),
        targets=(torch.zeros(1, 2, K),),
        mask=torch.ones(1, 2, dtype=torch.bool),
    )
    loss = PerExampleLoss(module=module, criterion=half_squared_error)
    grads = LoopEngine()(loss, params, batch, flat_groups(params))
    assert grads.losses.dtype == grads.sq_norms().dtype == grads.rows["weight"].dtype == torch.float32
    assert grads.weighted_sum(torch.ones(1, 2, 1, dtype=torch.float64))["weight"].dtype == torch.float32


def test_long_float32_norms_are_not_biased():
    """A plain float32 norm of two million entries is too low by 5e-5; this one is right to 1e-6."""
    row = torch.randn(2_000_003, generator=torch.Generator().manual_seed(0)).reshape(1, 1, -1)
    exact = row.double().square().sum()
    assert abs(row_sq_norms(row)[0, 0] / exact - 1) < 1e-6
    plain = torch.linalg.vector_norm(row).double().square()
    assert plain / exact - 1 < -1e-5, "negative control: the plain norm must show the bias"


def test_half_precision_norms_and_weights():
    """Rows in bfloat16 get float32 norms, and weights are not rounded to bfloat16."""
    rows = {"w": torch.full((1, 1, 3000), 0.1, dtype=torch.bfloat16)}
    grads = InstantiatedGrads(losses=torch.zeros(1, 1), rows=rows, groups={"w": 0})
    exact = rows["w"].double().square().sum()
    assert grads.sq_norms().dtype == torch.float32
    torch.testing.assert_close(grads.sq_norms()[0, 0, 0].double(), exact, rtol=1e-6, atol=0)
    signs = torch.tensor([1.0, -1.0]).repeat(128).reshape(1, 256, 1)
    grads = InstantiatedGrads(
        losses=torch.zeros(1, 256), rows={"w": signs.to(torch.bfloat16)}, groups={"w": 0}
    )
    weights = torch.where(signs > 0, 1 - 2**-9, 1.0)  # bfloat16 would round both to 1, and the sum to 0
    assert grads.weighted_sum(weights)["w"].item() == -128 * 2**-9


def test_criterion_must_give_one_loss_an_example():
    module = nn.Linear(D, K)
    params = stack_runs([trainable_parameters(module)])
    batch = Batch(
        inputs=(torch.ones(1, 2, D),),
        targets=(torch.zeros(1, 2, K),),
        mask=torch.ones(1, 2, dtype=torch.bool),
    )
    for criterion in (F.mse_loss, lambda o, y: (o - y).flatten()):
        with pytest.raises(ValueError, match="one loss an example"):
            LoopEngine()(
                PerExampleLoss(module=module, criterion=criterion), params, batch, flat_groups(params)
            )
