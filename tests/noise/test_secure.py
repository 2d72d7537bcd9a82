"""Secure streams: whose numbers a run draws, where they are added, and what that costs in memory."""

import gc
import math
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from clifftop.codec import decode, encode
from clifftop.flow import ClippedSum
from clifftop.noise import Gaussian, Keyed, Secure, SecureStreams, StreamKind
from clifftop.noise.normals import CHUNK, PAIRS
from clifftop.sampling import Poisson

KINDS = [Secure(), Secure(prefetch=True)]


def params(runs: int, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Three parameters whose sizes fit no block."""
    shapes = {"a": (101, 7), "b": (3,), "c": (CHUNK // 50, 51)}
    rng = torch.Generator().manual_seed(0)
    return {n: torch.randn(runs, *shape, generator=rng).to(dtype) for n, shape in shapes.items()}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_added_noise_is_std_times_the_stream_to_the_bit(kind: StreamKind, dtype: torch.dtype):
    value, std = params(3, dtype=dtype), torch.tensor([0.3, 1.7, 1.1], dtype=dtype)
    streams = kind.open([5, 6, 5])
    draws = streams.at(4).normal(value)
    for name, noisy in streams.at(4).add_normal(value, std).items():
        expected = value[name] + std.view(-1, *(1,) * (value[name].dim() - 1)) * draws[name]
        assert torch.equal(noisy, expected)
        assert noisy.dtype == dtype


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_run_draws_alone_what_it_draws_in_a_cohort(kind: StreamKind):
    value, std = params(3), torch.tensor([0.3, 1.7, 1.1])
    together = kind.open([5, 6, 5]).at(9).add_normal(value, std)
    alone = kind.open([5]).at(9).add_normal({n: v[2:] for n, v in value.items()}, std[2:])
    for name, noisy in together.items():
        assert torch.equal(noisy[2], alone[name][0])


def test_one_mechanism_over_any_stream():
    """The Gaussian mechanism on secure streams: scale and shape, false alarm 1e-6 in all."""
    total = ClippedSum(value={"w": torch.ones(1, 200_000)}, norm_bound=torch.tensor([2.0]))
    mechanism = Gaussian(noise_multiplier=1.5)
    noisy, _ = mechanism(total, mechanism.init(device_of=torch.zeros(())), Secure().open([8]).at(0))
    noise = (noisy.value["w"] - 1).double().numpy().ravel()
    assert noisy.noise_std.tolist() == [3.0]
    assert stats.kstest(noise, "norm", args=(0, 3)).pvalue > 5e-7
    assert stats.kstest(noise, "norm", args=(0, 3 * 1.05)).pvalue < 5e-7  # negative control
    assert torch.equal(total.value["w"], torch.ones(1, 200_000))


def test_a_silent_run_keeps_its_value():
    value = {"w": torch.tensor([[1.0, -0.0, math.inf], [1.0, 2.0, 3.0]])}
    noisy = Secure().open([1, 2]).at(0).add_normal(value, torch.tensor([0.0, 1.0]))
    assert torch.equal(noisy["w"][0], value["w"][0])
    assert not torch.equal(noisy["w"][1], value["w"][1])


def test_narrow_parameters_are_noised_in_float32():
    value = {"w": torch.ones(1, 5000, dtype=torch.bfloat16), "v": torch.ones(1, 9)}
    noisy = Secure().open([1]).at(0).add_normal(value, torch.tensor([0.01]))
    wide = Secure().open([1]).at(0).add_normal({n: v.float() for n, v in value.items()}, torch.tensor([0.01]))
    assert torch.equal(noisy["w"], wide["w"].bfloat16())
    assert torch.equal(noisy["v"], wide["v"])
    direct = torch.ones(1, 5000, dtype=torch.bfloat16)
    SecureStreams([1]).add_into(0, direct, torch.tensor([0.01]))
    assert torch.equal(direct, wide["w"].bfloat16())


def test_a_rank_draws_its_shard_alone():
    streams, size = SecureStreams([3]), 3 * CHUNK + 77
    whole, std = torch.zeros(1, size), torch.tensor([0.5])
    streams.add_into(2, whole, std)
    for start, stop in [(0, 1000), (999, CHUNK + 1), (CHUNK + 1, size)]:
        shard = torch.zeros(1, stop - start)
        SecureStreams([3]).add_into(2, shard, std, offset=start)
        assert torch.equal(shard, whole[:, start:stop])
        streams.normals_into(2, shard, offset=start)
        assert torch.equal(shard * 0.5, whole[:, start:stop])


def test_more_parameters_only_append():
    short, long = ({"w": torch.zeros(1, n)} for n in (1000, 90_000))
    streams = SecureStreams([3])
    assert torch.equal(streams.flat_normals(1, short), streams.flat_normals(1, long)[:, :1000])


def test_streams_of_steps_seeds_widths_and_purposes_are_independent():
    like = {"w": torch.zeros(2, 20_000)}
    rows = [row for step in (0, 1) for row in SecureStreams([1, 2]).flat_normals(step, like)]
    rows += [SecureStreams([1]).flat_normals(0, {"w": torch.zeros(1, 20_000).double()})[0].float()]
    rows += [SecureStreams([1]).uniforms(0, label, (20_000,))[0] for label in ("noise", "sampling")]
    rows += [torch.from_numpy(SecureStreams([1]).sampling(1, 0).random(20_000)).float()]
    off = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    # |r| of 20000 independent pairs exceeds 6 / sqrt(20000) with probability 2e-9; there are 28 pairs.
    assert off.abs().max() < 6 / math.sqrt(20_000)


def test_uniforms_are_uniform_and_longer_batches_append_rows():
    step = Secure().open([3, 4, 3]).at(2)
    draws = step.uniform("dropout/0", (400, 50))
    assert draws.shape == (3, 400, 50)
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws, step.uniform("dropout/0", (900, 50))[:, :400])
    assert stats.kstest(draws[0].ravel().numpy(), "uniform").pvalue > 1e-6
    assert stats.kstest(draws[0].ravel().numpy() ** 1.1, "uniform").pvalue < 1e-6  # negative control


def test_samplers_draw_from_the_keystream():
    streams = Secure().open([3])
    draws = [
        Poisson(sampling_prob=0.25).batch(step, num_examples=4000, rng=lambda k: streams.sampling(3, k))
        for step in (0, 0, 1)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    # The size is Binomial(4000, 1/4), sd 27.4: beyond 5.5 sd with probability 4e-8.
    assert abs(len(draws[2]) - 1000) < 151


def test_drawing_and_adding_allocate_nothing_of_the_parameters_size():
    streams, size = SecureStreams([1]), 3_000_000
    out, std = torch.zeros(1, size), torch.ones(1)
    streams.add_into(0, out, std)
    tracemalloc.start()
    try:
        streams.add_into(1, out, std)
        streams.normals_into(1, out)
        peak = tracemalloc.get_traced_memory()[1]
        streams.flat_normals(1, {"w": out})  # control: this does allocate
        seen = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK
    assert seen > 4 * size


def test_prefetching_changes_no_number_whatever_step_comes_next():
    value, std = params(2), torch.tensor([1.0, 2.0])
    ahead, plain = Secure(prefetch=True).open([1, 2]), Secure().open([1, 2])
    smaller = {"a": value["a"]}
    for step, like in [
        (0, value),
        (1, value),
        (1, value),
        (7, value),
        (8, smaller),
        (9, smaller),
        (3, value),
    ]:
        drawn, expected = (streams.at(step).add_normal(like, std) for streams in (ahead, plain))
        assert all(torch.equal(drawn[n], expected[n]) for n in like)
        drawn, expected = (streams.at(step).normal(like) for streams in (ahead, plain))
        assert all(torch.equal(drawn[n], expected[n]) for n in like)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_small_draws_bundle_steps_and_change_no_number(dtype: torch.dtype):
    """Sizes around the bundle's limit; steps in order, repeated, going back, and after a change of size."""
    steps = [*range(70), 69, 3, 4, 5, 6, 200, 201]
    for size in (1, 50, PAIRS // 2 - 1, PAIRS // 2, PAIRS, PAIRS + 1):
        kept = SecureStreams([1, 2])
        for step in steps:
            out, alone = torch.zeros(2, size, dtype=dtype), torch.zeros(2, size, dtype=dtype)
            kept.add_into(step, out, torch.ones(2))
            SecureStreams([1, 2]).normals_into(step, alone)
            assert torch.equal(out, alone)


def test_what_was_drawn_ahead_is_never_overwritten_in_a_callers_hands():
    like = {"w": torch.zeros(1, 5000)}
    streams = Secure(prefetch=True).open([1])
    first = streams.flat_normals(0, like)
    for step in range(1, 4):
        streams.flat_normals(step, like)
    assert torch.equal(first, Secure().open([1]).flat_normals(0, like))


def noise_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("clifftop-noise")]


def test_the_background_thread_ends_with_its_streams():
    streams = Secure(prefetch=True).open([1])
    streams.flat_normals(0, {"w": torch.zeros(1, 5000)})
    threads = noise_threads()
    assert threads
    del streams
    gc.collect()
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.is_alive() for thread in threads)


def test_an_interpreter_leaves_while_noise_is_being_drawn_ahead():
    program = (
        "import torch; from clifftop.noise import Secure;"
        "Secure(prefetch=True).open([1]).flat_normals(0, {'w': torch.zeros(1, 4_000_000)})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_prefetch_there_is_no_thread():
    before = noise_threads()
    streams = Secure().open([1])
    streams.flat_normals(0, {"w": torch.zeros(1, 5000)})
    assert noise_threads() == before


def test_out_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"out must be \(R, n\) with R=2 runs, found shape=\(1, 5\)"):
        SecureStreams([1, 2]).add_into(0, torch.zeros(1, 5), torch.ones(2))


def test_nothing_has_to_be_stored_and_the_kind_is_a_plain_value():
    assert Secure().open([1]).state() == {}
    assert Secure() == replace(Secure(prefetch=True), prefetch=False)
    assert decode(encode(Secure(prefetch=True)), Secure) == Secure(prefetch=True)


def test_no_draw_touches_the_global_generators():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    step = Secure(prefetch=True).open([1]).at(0)
    step.normal({"w": torch.zeros(1, 8)})
    step.uniform("dropout/0", (2, 2))
    step.streams.sampling(1, 0).random(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_keyed_streams_keep_their_numbers():
    """Studies that were published with them depend on these."""
    like = {"w": torch.zeros(1, 2), "b": torch.zeros(1, 1)}
    step = Keyed().open([1]).at(5)
    assert step.normal(like)["w"].ravel().tolist() == pytest.approx(KEYED_NORMALS, rel=1e-6)
    assert step.uniform("dropout/0", (2,)).ravel().tolist() == pytest.approx(KEYED_UNIFORMS, rel=1e-7)
    value = {"w": torch.tensor([[0.3, -0.7]]), "b": torch.ones(1, 1)}
    std = torch.tensor([1.3])
    for name, noisy in step.add_normal(value, std).items():
        assert torch.equal(noisy, torch.addcmul(value[name], std[:, None], step.normal(value)[name]))


KEYED_NORMALS = [1.56911838, -1.3383683]
KEYED_UNIFORMS = [0.480822742, 0.755418599]
