"""Every clipping rule: no example's whole weighted gradient is longer than the bound that the sum carries."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.clipping import Automatic, ClippingRule, Flat, PerLayer
from clifftop.criteria import squared_error
from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss
from clifftop.gradients.base import stack_runs, trainable_parameters

NAMES = ["a.weight", "a.bias", "b.weight", "c.weight"]
RULES = [
    pytest.param(lambda c: Flat(clip_norm=c), id="flat"),
    pytest.param(lambda c: Automatic(clip_norm=c), id="automatic"),
    pytest.param(lambda c: Automatic(clip_norm=c, stability=1e-6), id="automatic, hardly stable"),
    pytest.param(lambda c: PerLayer(clip_norm=c), id="per layer"),
]


def parts(rule: ClippingRule, sq_norms: torch.Tensor) -> torch.Tensor:
    """Squared norms ``(1, B, G)`` of the rule's groups, from those of the parameters ``(B, P)``."""
    groups = rule.groups(NAMES)
    out = torch.zeros(1, len(sq_norms), max(groups.values()) + 1, dtype=sq_norms.dtype)
    for column, name in enumerate(NAMES):
        out[0, :, groups[name]] += sq_norms[:, column]
    return out


@pytest.mark.parametrize("make", RULES)
@settings(derandomize=True, max_examples=100)
@given(
    norms=st.lists(st.tuples(*[st.floats(0, 1e12)] * len(NAMES)), min_size=1, max_size=8),
    clip_norm=st.floats(1e-3, 1e3),
)
def test_no_weighted_norm_exceeds_the_bound(make, norms, clip_norm):
    rule = make(clip_norm)
    squares = parts(rule, torch.tensor(norms, dtype=torch.float64).square())
    state = rule.init(device_of=squares)
    weights = rule.weights(squares, torch.ones(squares.shape[:2], dtype=torch.bool), state)
    whole = (weights.square() * squares).sum(-1).sqrt()
    assert (whole <= rule.norm_bound(state)[:, None] * (1 + 1e-9)).all()


def test_a_whole_bound_for_each_layer_is_refuted():
    """Negative control: per-layer clipping at C each exceeds a bound of C by the root of the layers."""
    rule = PerLayer(clip_norm=2.0)
    squares = parts(rule, torch.full((1, len(NAMES)), 100.0))
    careless = (2.0 / squares.sqrt()).clamp(max=1)
    assert (careless.square() * squares).sum(-1).sqrt().item() > 2.0 * 1.7


@pytest.mark.parametrize("make", RULES)
def test_padding_and_non_finite_norms_get_weight_zero_in_every_group(make):
    rule = make(2.0)
    squares = parts(
        rule, torch.tensor([[1.0] * 4, [1.0, 1.0, float("nan"), 1.0], [float("inf")] * 4, [1.0] * 4])
    )
    mask = torch.tensor([[True, True, True, False]])
    weights = rule.weights(squares, mask, rule.init(device_of=squares))
    assert (weights[0, 0] > 0).all()
    assert not weights[0, 1:].any()


@pytest.mark.parametrize("make", RULES)
def test_each_run_has_its_own_numbers(make):
    rules = [make(0.5), make(3.0)]
    squares = torch.full((2, 3, max(rules[0].groups(NAMES).values()) + 1), 9.0)
    state = rules[0].stack([rule.init(device_of=squares) for rule in rules])
    mask = torch.ones(2, 3, dtype=torch.bool)
    together = rules[0].weights(squares, mask, state)
    for r, rule in enumerate(rules):
        alone = rule.weights(squares[r : r + 1], mask[r : r + 1], rule.init(device_of=squares))
        assert torch.equal(together[r], alone[0])
    assert rules[0].template() == rules[1].template()


def test_automatic_clipping_normalises_and_per_layer_parts_its_bound():
    squares = torch.tensor([[[16.0]]])
    automatic = Automatic(clip_norm=2.0, stability=1.0)
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert automatic.weights(squares, mask, automatic.init(device_of=squares)).item() == pytest.approx(0.4)
    layered = PerLayer(clip_norm=2.0)
    found = layered.weights(torch.tensor([[[4.0, 0.25, 1e4, 1.0]]]), mask, layered.init(device_of=squares))
    assert found[0, 0].tolist() == pytest.approx([0.5, 1.0, 0.01, 1.0])


@pytest.mark.parametrize(
    "rule", [Automatic(clip_norm=0.3), PerLayer(clip_norm=0.3)], ids=["automatic", "per layer"]
)
def test_a_real_models_clipped_sum_keeps_the_bound_example_by_example(rule):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    params = stack_runs([trainable_parameters(module)])
    batch = Batch(
        inputs=(10 * torch.randn(1, 6, 4),),
        targets=(torch.randn(1, 6),),
        mask=torch.ones(1, 6, dtype=torch.bool),
    )
    grads = LoopEngine()(
        PerExampleLoss(module=module, criterion=squared_error), params, batch, rule.groups(params)
    )
    state = rule.init(device_of=torch.zeros(()))
    for example in range(6):
        alone = torch.zeros(1, 6, dtype=torch.bool)
        alone[0, example] = True
        total, _, _ = rule(grads, alone, state)
        length = torch.cat([v.flatten() for v in total.value.values()]).norm().item()
        assert 0 < length <= total.norm_bound.item() * (1 + 1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_bound_nothing_are_named(value):
    with pytest.raises(ValueError, match="clip_norm must be finite and > 0, found clip_norm="):
        Automatic(clip_norm=value)
    with pytest.raises(ValueError, match="stability must be finite and > 0, found stability="):
        Automatic(clip_norm=1.0, stability=value)
    with pytest.raises(ValueError, match="clip_norm must be finite and > 0, found clip_norm="):
        PerLayer(clip_norm=value)
