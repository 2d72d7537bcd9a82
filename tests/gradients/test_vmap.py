"""The vmap engine: its chunks, its refusals, and the traps of ``torch.func`` it stays clear of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from clifftop.gradients.base import UnsupportedModule
from clifftop.gradients.instantiated import InstantiatedGrads
from clifftop.gradients.loop import LoopEngine
from clifftop.gradients.vmap import VmapEngine
from clifftop.testing.gradients import Case, make_case
from clifftop.testing.problem import Problem, floats, regression, squared_error
from clifftop.testing.problems import PROBLEMS


def case_of(name: str, **sizes: int) -> Case:
    return make_case(next(p for p in PROBLEMS if p.name == name), **sizes)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ["mlp", "dropout", "lstm"])
def test_chunks_change_nothing(name: str, chunk_size: int):
    case = case_of(name)
    whole, parts = case.gradients(VmapEngine()), case.gradients(VmapEngine(chunk_size=chunk_size))
    assert isinstance(whole, InstantiatedGrads)
    assert isinstance(parts, InstantiatedGrads)
    torch.testing.assert_close(parts.losses, whole.losses, rtol=1e-12, atol=0)
    for key, rows in whole.rows.items():
        torch.testing.assert_close(parts.rows[key], rows, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_chunk_size_must_be_positive(chunk_size: int):
    with pytest.raises(ValueError, match=f"chunk_size={chunk_size}"):
        VmapEngine(chunk_size=chunk_size)


class BranchesOnData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else -self.linear(x)


def test_control_flow_on_data_is_refused_by_name():
    problem = regression("branch", lambda: nn.Sequential(BranchesOnData()), (4,), (3,))
    case = make_case(problem)
    with pytest.raises(UnsupportedModule, match=r"'0' \(BranchesOnData\).*LoopEngine\(\)") as caught:
        case.gradients(VmapEngine())
    assert isinstance(caught.value.__cause__, RuntimeError)
    case.gradients(LoopEngine())


def test_a_wrong_model_is_not_called_unsupported():
    """A shape error of the model itself comes out as it is, not as a refusal of ``torch.func``."""
    problem = regression("wrong", lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3)), (4,), (3,))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        make_case(problem).gradients(VmapEngine())


def test_equal_numbers_of_runs_and_examples():
    """PReLU's backward pairs runs with examples in a nested ``vmap`` of torch 2.13; the engine must not.

    The negative control shows the trap: the nested map alone gives wrong gradients, silently.
    """
    case = case_of("prelu", num_runs=4, batch_size=4)
    expected, found = case.gradients(LoopEngine()), case.gradients(VmapEngine())
    torch.testing.assert_close(found.sq_norms(), expected.sq_norms(), rtol=1e-10, atol=0)

    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(4, 4, 5, generator=rng), torch.randn(4, 5, generator=rng)
    slope = grad(lambda w, x: nn.functional.prelu(x.unsqueeze(0), w).square().sum(), argnums=1)
    nested = vmap(vmap(slope, in_dims=(None, 0)))(w, x)
    one_by_one = torch.stack([torch.stack([slope(w[r], x[r, b]) for b in range(4)]) for r in range(4)])
    if torch.allclose(nested, one_by_one):
        pytest.fail("torch has mended PReLU: the engine may map parameters over runs for every size")


@pytest.mark.parametrize("num_runs", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("name", ["mlp", "conv", "prelu", "gru", "embedding bag", "counting buffer"])
def test_every_size(name: str, num_runs: int, batch_size: int):
    case = case_of(name, num_runs=num_runs, batch_size=batch_size)
    expected, found = case.gradients(LoopEngine()), case.gradients(VmapEngine())
    assert isinstance(expected, InstantiatedGrads)
    assert isinstance(found, InstantiatedGrads)
    for key, rows in expected.rows.items():
        torch.testing.assert_close(found.rows[key], rows, rtol=1e-9, atol=1e-12)


class CountingScale(nn.Module):
    """The output depends on a buffer that each pass writes."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(3, 3, batch_first=True)  # makes the first of the engine's two ways fail
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x):
        self.get_buffer("calls").add_(1.0)
        return self.recurrent(x)[0] * self.calls


def test_buffers_start_afresh():
    """No example, and no second attempt, sees what another wrote into a buffer."""
    problem = Problem(
        name="counting scale",
        build=CountingScale,
        inputs=floats((2, 3)),
        targets=floats((2, 3)),
        criterion=squared_error,
    )
    case = make_case(problem)
    expected, found = case.gradients(LoopEngine()), case.gradients(VmapEngine())
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-12, atol=0)
    again = replace(case).gradients(VmapEngine())
    torch.testing.assert_close(again.losses, expected.losses, rtol=1e-12, atol=0)
