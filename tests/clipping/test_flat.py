"""Flat clipping: the bound holds for every example, and nothing else changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.clipping import Flat


def weights(norms: torch.Tensor, clip_norm: float, mask: torch.Tensor | None = None) -> torch.Tensor:
    rule = Flat(clip_norm=clip_norm)
    mask = torch.ones_like(norms, dtype=torch.bool) if mask is None else mask
    return rule.weights(norms.square()[..., None], mask, rule.init(device_of=norms))[..., 0]


@settings(derandomize=True, max_examples=200)
@given(
    norms=st.lists(st.floats(0, 1e15), min_size=1, max_size=20),
    clip_norm=st.floats(1e-3, 1e6),
)
def test_no_weighted_norm_exceeds_the_bound(norms: list[float], clip_norm: float):
    values = torch.tensor([norms], dtype=torch.float64)
    clipped = weights(values, clip_norm) * values
    assert (clipped <= clip_norm * (1 + 1e-12)).all()
    small = values <= clip_norm * (1 - 1e-9)
    assert torch.allclose(clipped[small], values[small], rtol=1e-8, atol=1e-12)


def test_float32_weights_keep_the_bound_up_to_round_off():
    norms = torch.logspace(-6, 15, 20001)[None]
    assert (weights(norms, 0.1).double() * norms.double()).max() <= 0.1 * (1 + 1e-6)


def test_padding_and_non_finite_norms_get_weight_zero():
    norms = torch.tensor([[1.0, float("nan"), float("inf"), 5.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert weights(norms, 2.0, mask).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_an_infinite_clip_norm_clips_nothing():
    assert weights(torch.tensor([[0.0, 1e10]]), float("inf")).tolist() == [[1.0, 1.0]]


def test_each_run_has_its_own_clip_norm():
    rule = Flat(clip_norm=1.0)
    like = torch.zeros(())
    state = rule.stack([rule.init(device_of=like), Flat(clip_norm=4.0).init(device_of=like)])
    sq_norms = torch.full((2, 3, 1), 4.0)
    found = rule.weights(sq_norms, torch.ones(2, 3, dtype=torch.bool), state)
    assert torch.allclose(found[..., 0], torch.tensor([[0.5] * 3, [1.0] * 3]))
    assert rule.norm_bound(state).tolist() == [1.0, 4.0]


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan")])
def test_a_clip_norm_that_bounds_nothing_is_named(clip_norm: float):
    with pytest.raises(ValueError, match="clip_norm must be > 0, found clip_norm="):
        Flat(clip_norm=clip_norm)
