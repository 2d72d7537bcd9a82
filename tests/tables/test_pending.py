"""The arithmetic of deferred noise against the recurrence of the dense mechanism."""

from __future__ import annotations

import pytest
import torch

from clifftop.tables.pending import Pending

CPU = torch.device("cpu")


def dense(steps: list[tuple[float, float]], first: int) -> tuple[float, float]:
    """What steps ``first ..`` do to a row that none of them reads: its factor and the noise's variance."""
    scale, variance = 1.0, 0.0
    for factor, std in steps[first:]:
        scale, variance = scale * factor, variance * factor**2 + std**2
    return scale, variance


def schedule(count: int, seed: int = 0) -> list[tuple[float, float]]:
    rng = torch.Generator().manual_seed(seed)
    rates = torch.rand(count, 2, generator=rng, dtype=torch.float64)
    return [(1 - 0.3 * a, 0.0 if b < 0.1 else 2 * b) for a, b in rates.tolist()]


@pytest.mark.parametrize("decayed", [False, True])
def test_any_row_lacks_what_the_recurrence_says(decayed: bool):
    steps = [(f if decayed else 1.0, s) for f, s in schedule(150)]
    pending = Pending(len(steps) + 1, device=CPU)
    for t, (factor, std) in enumerate(steps):
        pending.settle(torch.tensor([t]))
        pending.advance(factor=factor, noise_std=std)
    scale, std = pending.missing(torch.arange(len(steps)))
    for t in range(len(steps)):
        expected_scale, expected_variance = dense(steps, t)
        assert scale[t].item() == pytest.approx(expected_scale, rel=1e-12)
        assert std[t].item() ** 2 == pytest.approx(expected_variance, rel=1e-9)
    assert (pending.decayed, pending.noisy) == (decayed, True)


def test_a_settled_row_lacks_exactly_nothing():
    pending = Pending(2, device=CPU)
    for factor, std in schedule(20):
        pending.advance(factor=factor, noise_std=std)
    pending.settle(torch.tensor([1]))
    scale, std = pending.missing(slice(0, 2))
    assert (scale[1].item(), std[1].item()) == (1.0, 0.0)
    assert std[0] > 0


def test_digits_last_to_the_smallest_decay():
    """Right until the count must restart: a decay of 1e-100 squared is still far from underflow."""
    pending, steps = Pending(1, device=CPU), []
    while not pending.must_restart:
        steps.append((0.05, 1.0))
        pending.advance(factor=0.05, noise_std=1.0)
        if len(steps) == 30:
            pending.settle(slice(None))
    scale, std = pending.missing(slice(None))
    expected_scale, expected_variance = dense(steps, 30)
    assert 70 < len(steps) < 80
    assert scale.item() == pytest.approx(expected_scale, rel=1e-11)
    assert std.item() ** 2 == pytest.approx(expected_variance, rel=1e-11)


def test_no_digits_are_lost_over_a_long_run():
    """The last of a million equal steps: a difference of two long sums."""
    pending = Pending(1, device=CPU)
    pending._spread = 999_999 * 0.3**2
    pending._history[1, 0] = pending._spread
    pending.advance(factor=1.0, noise_std=0.3)
    assert pending.missing(slice(None))[1].item() == pytest.approx(0.3, rel=1e-9)


def test_restart_needs_every_row_settled():
    pending = Pending(3, device=CPU)
    pending.advance(factor=1.0, noise_std=1.0)
    pending.settle(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="every row is settled"):
        pending.restart()
    pending.settle(torch.tensor([2]))
    pending.restart()
    assert pending.steps == 0
    assert not pending.noisy
    assert pending.missing(slice(None))[1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.1, float("nan")])
def test_a_decay_outside_zero_to_one_is_refused(factor: float):
    with pytest.raises(ValueError, match="lr \\* weight_decay"):
        Pending(1, device=CPU).advance(factor=factor, noise_std=1.0)


def test_state_goes_round():
    a = Pending(4, device=CPU)
    for t, (factor, std) in enumerate(schedule(100)):
        a.advance(factor=factor, noise_std=std)
        a.settle(torch.tensor([t % 3]))
    b = Pending(4, device=CPU)
    b.load_state(a.state())
    for pending in (a, b):
        pending.advance(factor=0.9, noise_std=0.7)
    for x, y in zip(a.missing(slice(None)), b.missing(slice(None)), strict=True):
        assert torch.equal(x, y)
    with pytest.raises(ValueError, match="4"):
        Pending(5, device=CPU).load_state(a.state())
