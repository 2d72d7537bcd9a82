"""Two and four processes: one draw dealt out, sums added up, noise added once, disagreement told to all."""

import math
from statistics import NormalDist

import pytest
import torch

from clifftop.parallel import Alone

SIZES = [(2, 0), (2, 1), (4, 0), (4, 3)]


def variance_is(sample, variance):
    """A two-sided test on the sum of squares, false alarm below 1e-6 (normal approximation, n = 20000)."""
    n = sample.numel()
    z = (sample.square().sum().item() / variance - n) / math.sqrt(2 * n)
    return abs(z) < NormalDist().inv_cdf(1 - 0.5e-6)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_noise_has_one_runs_variance(ranks_found, rank_script, world_size):
    if world_size == 1:
        noise = rank_script.scenario_noise(Alone(), None)["once"]
    else:
        noise = ranks_found("noise", world_size, world_size - 1)["once"]
    assert variance_is(noise, rank_script.PLAN.noise.noise_multiplier**2)
    assert torch.equal(noise, ranks_found("noise", 2, 0)["once"])


@pytest.mark.parametrize("world_size", [2, 4])
def test_noise_from_every_rank_would_be_found(ranks_found, rank_script, world_size):
    """The negative control: independent noise a rank has the variance times the number of ranks."""
    variance = rank_script.PLAN.noise.noise_multiplier**2
    noise = ranks_found("noise", world_size, 0)["each its own"]
    assert not variance_is(noise, variance)
    assert variance_is(noise, variance * world_size)


@pytest.mark.parametrize("world_size", [2, 4])
def test_sums_are_right_and_the_same_everywhere(ranks_found, world_size):
    total = sum(range(1, world_size + 1))
    ranks = [ranks_found("collectives", world_size, rank) for rank in range(world_size)]
    whole, turned, counts, narrow, nothing, scalar = ranks[-1]["mixed"]
    assert torch.equal(whole, torch.full((3, 2), float(total)))
    assert torch.equal(turned, torch.full((3, 2), float(total), dtype=torch.float64))
    assert torch.equal(counts, torch.full((5,), 10 * total))
    assert torch.equal(narrow, torch.full((4,), 2.0**world_size - 1, dtype=torch.bfloat16))
    assert nothing.numel() == 0
    assert scalar.item() == total
    for one in ranks:
        assert torch.equal(one["awkward"], ranks[0]["awkward"])


@pytest.mark.parametrize(("world_size", "rank"), SIZES)
def test_rank_zeros_tensors_arrive_bit_for_bit(ranks_found, world_size, rank):
    copied = ranks_found("collectives", world_size, rank)["copied"]
    wanted = torch.tensor([[-0.0, float("nan")], [1.5, -2.0]])
    assert torch.equal(copied["a"].view(torch.int32), wanted.view(torch.int32))
    assert copied["b"].tolist() == [0, 0, 0]
    assert copied["c"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(("world_size", "rank"), SIZES)
def test_disagreement_is_one_error_on_every_rank(ranks_found, world_size, rank):
    last = world_size - 1
    odd, others = list(range(1, world_size, 2)), list(range(1, world_size))
    wanted = {
        "same": None,
        "plan": ("plan", [last]),
        "examples": ("number of examples", odd),
        "seed": ("seed", others),
        "some seed": ("seed", others),
        "parameters": None,
        "value": ("value of parameter 'b'", [last]),
        "names": ("parameter names, shapes and dtypes", [last]),
        "order of calls": ("this" if rank else "that", others),
    }
    messages = ranks_found("agreement", world_size, rank)["messages"]
    assert messages == {
        name: ""
        if expected is None
        else f"ValueError: every rank must hold the same {expected[0]}, found ranks={expected[1]} different "
        "from rank 0; start all ranks with the same program and arguments"
        for name, expected in wanted.items()
    }


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_seed_that_nobody_gave_is_rank_zeros(ranks_found, world_size):
    ranks = [ranks_found("agreement", world_size, rank) for rank in range(world_size)]
    assert all(one["drawn"] == ranks[0]["drawn"] and one["given"] == 7 for one in ranks)
    first, second = ranks[0]["drawn"]
    assert first != second
    assert min(first, second).bit_length() > 64
    assert all(one["shared"] == [[], list(b"rank 0"), list(range(256))] for one in ranks)


@pytest.mark.parametrize("world_size", [2, 4])
def test_what_happens_once_happened_once_before_anyone_goes_on(ranks_found, world_size):
    ranks = [ranks_found("once", world_size, rank) for rank in range(world_size)]
    assert [one["seen"] for one in ranks] == ["x"] * world_size
    told = "stopped, because rank 0 stopped: the budget is spent"
    assert [one["failed"] for one in ranks] == [
        "ValueError: the budget is spent",
        *(f"RuntimeError: rank {rank}: {told}" for rank in range(1, world_size)),
    ]


def test_a_limit_of_its_own_makes_a_group_of_its_own(ranks_found):
    assert ranks_found("timeout", 2, 1) == {"sum": 2.0, "ranks": (1, 2)}
    assert ranks_found("timeout", 4, 3) == {"sum": 4.0, "ranks": (3, 4)}


def test_a_process_outside_of_the_group_is_refused(ranks_found):
    wanted = (
        "ValueError: DataParallel must be made by a member of its group, found process rank={} outside of it"
    )
    for rank in (2, 3):
        assert ranks_found("outside", 2, rank).startswith(wanted.format(rank))
