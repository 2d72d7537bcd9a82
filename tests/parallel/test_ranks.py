"""What needs no second process: one rank alone, the shards, the buckets, the rows of the draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.noise import Keyed
from clifftop.parallel import (
    Alone,
    DataParallel,
    ShardStreams,
    agree_on_parameters,
    agree_on_seed,
    copy_from_rank_zero,
    on_rank_zero,
    share,
)
from clifftop.parallel.buckets import in_buckets


def test_alone_every_question_has_one_answer():
    ranks, value = Alone(), torch.tensor([1.0, -0.0])
    ranks.all_reduce([value])
    ranks.agree("plan", b"anything")
    agree_on_parameters(ranks, {"w": value})
    copy_from_rank_zero(ranks, {"w": value})
    assert (ranks.rank, ranks.world_size) == (0, 1)
    assert value.tolist() == [1.0, 0.0]
    assert torch.signbit(value).tolist() == [False, True]
    assert share(ranks, b"x") == b"x"
    assert agree_on_seed(ranks, 3) == 3
    drawn = agree_on_seed(ranks, None)
    assert drawn != agree_on_seed(ranks, None)
    assert 64 < drawn.bit_length() <= 128


def test_alone_an_action_is_done_and_its_error_is_its_own():
    done = []
    on_rank_zero(Alone(), lambda: done.append(1))
    assert done == [1]
    with pytest.raises(KeyError, match="budget"):
        on_rank_zero(Alone(), lambda: {}["budget"])


def test_data_parallel_without_a_process_group_is_refused():
    with pytest.raises(ValueError, match=r"found none; call torch.distributed.init_process_group first"):
        DataParallel()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), max_size=8),
    limit=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_buckets_hold_every_number_once_within_the_limit(lengths, limit, seed):
    rng = np.random.default_rng(seed)
    dtypes = [torch.float32, torch.float64, torch.int64, torch.bfloat16]
    tensors = [torch.arange(n).to(dtypes[rng.integers(4)]) for n in lengths]
    wanted = [2 * t for t in tensors]
    sizes = []

    def double(flat):
        sizes.append((flat.dtype, flat.numel()))
        flat.mul_(2)

    in_buckets(tensors, double, device_for=lambda device: device, bucket_bytes=limit)
    assert all(torch.equal(a, b) for a, b in zip(tensors, wanted, strict=True))
    assert [t.dtype for t in tensors] == [w.dtype for w in wanted]
    assert sum(n for _, n in sizes) == sum(lengths)
    assert torch.bfloat16 not in {dtype for dtype, _ in sizes}
    assert all(n <= max([limit, *lengths]) for _, n in sizes)


def test_a_large_tensor_is_reduced_where_it_lies():
    large, seen = torch.zeros(100), []
    in_buckets([large, torch.zeros(3)], seen.append, device_for=lambda device: device, bucket_bytes=64)
    assert [flat.data_ptr() == large.data_ptr() for flat in seen] == [True, False]


def test_small_tensors_travel_together():
    seen = []
    in_buckets([torch.zeros(2)] * 8, seen.append, device_for=lambda device: device, bucket_bytes=1024)
    assert [flat.numel() for flat in seen] == [16]


def test_a_rank_draws_the_rows_of_its_examples():
    streams = Keyed().open([1]).at(4)
    whole = streams.uniform("dropout", (7, 3))
    parts = []
    for rank in range(3):
        draws = ShardStreams(streams=streams, places=np.arange(7)[rank::3])
        parts.append(draws.uniform("dropout", (4, 3))[:, : len(range(rank, 7, 3))])
    assert torch.equal(torch.cat([p[:, i] for i in range(3) for p in parts if i < p.shape[1]]), whole[0])


def test_a_rank_draws_for_a_slice_of_its_examples():
    """And of the streams' rows only those between its slice's first and last."""
    asked = []

    class Noted:
        def uniform(self, label, shape, *, offset=0):
            asked.append((offset, shape[0]))
            return Keyed().open([1]).at(4).uniform(label, shape, offset=offset)

    draws = ShardStreams(streams=Noted(), places=np.arange(20)[1::3])
    whole = draws.uniform("dropout", (7, 3))
    assert torch.equal(draws.uniform("dropout", (2, 3), offset=4), whole[:, 4:6])
    assert torch.equal(draws.uniform("dropout", (3, 3), offset=5)[:, :2], whole[:, 5:])
    assert asked == [(1, 19), (13, 4), (16, 4)]


def test_a_rank_without_examples_draws_for_its_padding():
    draws = ShardStreams(streams=Keyed().open([1]).at(4), places=np.arange(0))
    assert draws.uniform("dropout", (8, 3)).shape == (1, 8, 3)
