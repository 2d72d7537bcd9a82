"""Gaussian noise: its scale, its shape, and whose numbers it uses."""

import math

import pytest
import torch
from scipy import stats

from clifftop.flow import ClippedSum
from clifftop.noise import Gaussian, Keyed, KeyedStreams, Secure

FALSE_ALARM = 1e-6


def states(*multipliers: float):
    like = torch.zeros(())
    return Gaussian(noise_multiplier=1.0).stack(
        Gaussian(noise_multiplier=m).init(device_of=like) for m in multipliers
    )


def zero_sum(runs: int, size: int, bound: float = 2.0) -> ClippedSum:
    value = {"a": torch.zeros(runs, size // 2, 2), "b": torch.zeros(runs, size)}
    return ClippedSum(value=value, norm_bound=torch.full((runs,), bound))


def noise_p_value(values: torch.Tensor, std: float) -> float:
    """P-value of 'these numbers are N(0, std^2)': Kolmogorov-Smirnov and variance, Bonferroni."""
    x = values.double().flatten().numpy()
    variance = (x**2).sum() / std**2
    tails = 2 * min(stats.chi2.sf(variance, x.size), stats.chi2.cdf(variance, x.size))
    return 2 * min(stats.kstest(x, "norm", args=(0, std)).pvalue, tails)


def test_noise_has_the_promised_scale_and_shape():
    streams = KeyedStreams([11, 12])
    noisy, _ = Gaussian(noise_multiplier=1.0)(zero_sum(2, 20_000), states(0.5, 3.0), streams.at(4))
    assert noisy.noise_std.tolist() == [1.0, 6.0]
    for run, std in enumerate(noisy.noise_std.tolist()):
        for part in noisy.value.values():
            assert noise_p_value(part[run], std) > FALSE_ALARM


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_the_scale_check_notices_five_percent(factor: float):
    """Negative control."""
    streams = KeyedStreams([11])
    noisy, _ = Gaussian(noise_multiplier=1.0)(zero_sum(1, 20_000), states(factor), streams.at(4))
    assert noise_p_value(noisy.value["b"][0], 2.0) < FALSE_ALARM


def test_draws_differ_between_steps_seeds_and_parameters():
    like = zero_sum(2, 4000).value
    first, later = (KeyedStreams([1, 2]).at(step).normal(like) for step in (0, 1))
    rows = [first["a"][0], first["a"][1], first["b"][0], later["a"][0], later["b"][1]]
    table = torch.stack([row.flatten()[:4000] for row in rows])
    off = torch.corrcoef(table) - torch.eye(5)
    # |r| of 4000 independent pairs exceeds 5.5 / sqrt(4000) with probability 4e-8 a pair.
    assert off.abs().max() < 5.5 / math.sqrt(4000)


def test_runs_of_one_seed_share_their_draws_and_cohorts_do_not_matter():
    like = zero_sum(3, 10).value
    together = Keyed().open([5, 6, 5]).at(9).normal(like)
    alone = Keyed().open([6]).at(9).normal({n: v[:1] for n, v in like.items()})
    for name, part in together.items():
        assert torch.equal(part[0], part[2])
        assert torch.equal(part[1], alone[name][0])


def test_a_silent_run_is_left_alone_even_without_a_bound():
    total = ClippedSum(value={"w": torch.ones(1, 3)}, norm_bound=torch.tensor([math.inf]))
    noisy, _ = Gaussian(noise_multiplier=1.0)(total, states(0.0), KeyedStreams([1]).at(0))
    assert torch.equal(noisy.value["w"], total.value["w"])


def test_noise_without_a_bound_releases_nothing_of_the_sum():
    total = ClippedSum(value={"w": torch.ones(1, 3)}, norm_bound=torch.tensor([math.inf]))
    noisy, _ = Gaussian(noise_multiplier=1.0)(total, states(1.0), KeyedStreams([1]).at(0))
    assert not torch.isfinite(noisy.value["w"]).any()


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_a_noise_multiplier_outside_its_range_is_named(sigma: float):
    with pytest.raises(ValueError, match="noise_multiplier must be finite and >= 0, found noise_multiplier="):
        Gaussian(noise_multiplier=sigma)


def test_uniforms_are_named_by_label_and_longer_batches_append_rows():
    step = KeyedStreams([3]).at(2)
    assert torch.equal(step.uniform("dropout/0", (4, 5)), step.uniform("dropout/0", (9, 5))[:, :4])
    assert not torch.equal(step.uniform("dropout/0", (4, 5)), step.uniform("dropout/1", (4, 5)))


@pytest.mark.parametrize("kind", [Keyed(), Secure()], ids=lambda kind: type(kind).__name__)
def test_uniforms_can_begin_at_any_row(kind):
    """Rows of every width, so that they begin anywhere in a block of the generator."""
    step = kind.open([3, 4, 3]).at(2)
    for rest in ((), (1,), (5,), (3, 7), (16,)):
        whole = step.uniform("dropout/0", (23, *rest))
        for offset in range(20):
            assert torch.equal(step.uniform("dropout/0", (3, *rest), offset=offset), whole[:, offset:][:, :3])


@pytest.mark.parametrize("kind", [Keyed(), Secure()], ids=lambda kind: type(kind).__name__)
def test_uniforms_before_the_first_row_are_not_drawn(kind):
    """A slice of a batch costs what it draws: the rows before it would fill 4 TB."""
    step = kind.open([3]).at(2)
    assert step.uniform("dropout/0", (2, 1000), offset=10**9).shape == (1, 2, 1000)


def test_no_draw_touches_the_global_generator():
    before = torch.get_rng_state()
    KeyedStreams([1]).at(0).normal({"w": torch.zeros(1, 8)})
    KeyedStreams([1]).at(0).uniform("dropout/0", (2, 2))
    assert torch.equal(torch.get_rng_state(), before)
