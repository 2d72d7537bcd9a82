"""bfloat16 under autocast: what runs in it, what stays in float32, and the bound, which holds as ever."""

import logging

import pytest
import torch
from torch import nn

from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, VmapEngine
from clifftop.gradients.base import trainable_parameters
from clifftop.gradients.graph import GraphEngine
from clifftop.training.precision import AutocastCriterion, autocast_module

BFLOAT16, CPU = torch.bfloat16, torch.device("cpu")
CLIP = 0.1
ENGINES = [GraphEngine(), LoopEngine(), VmapEngine()]


class Mixed(nn.Module):
    """A convolution, group and layer norms, attention, dropout, an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Unflatten(1, (1, 5, 1)), nn.Conv2d(1, 8, (3, 1)), nn.GroupNorm(2, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.top = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 3))

    def forward(self, x):
        hidden = self.image(x).flatten(2).transpose(1, 2)
        seen = self.norm(hidden)
        return self.top((hidden + self.attention(seen, seen, seen, need_weights=False)[0]).mean(1))


class Shared(nn.Module):
    """One layer used twice, and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.top = nn.Linear(5, 5), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x):
        return self.top(self.layer(torch.tanh(self.layer(x))) * self.scale)


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 3)),
    "mixed": Mixed,
    "shared": Shared,
}


def model(name: str = "mlp") -> nn.Module:
    torch.manual_seed(2)
    return MODELS[name]()


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: type(e).__name__)
def test_bfloat16_trains_with_weights_in_float32(make, engine):
    trainer = make(module=model(), engine=engine, autocast=BFLOAT16, sigma=0.2, prob=0.5)
    losses = []
    trainer.fit(steps=25, on_step=lambda step, record: losses.append(record.loss.item()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    for p in trainer.module.parameters():
        assert p.dtype == p.grad.dtype == torch.float32
    state = trainer.optimizer.state_dict()["state"]
    assert all(s["exp_avg"].dtype == torch.float32 for s in state.values())
    assert list(trainer.module.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("name", MODELS)
def test_the_default_engine_takes_it_as_it_is(make, caplog, name):
    """The checks pass, and no slower engine takes over, which the log would say."""
    trainer = make(module=model(name), autocast=BFLOAT16)
    with caplog.at_level(logging.INFO, logger="clifftop"):
        trainer.fit(steps=3)
    assert isinstance(trainer.engine, GraphEngine)
    assert caplog.records == []


def gradients(engine, net: nn.Module, x: torch.Tensor, *, autocast: bool):
    twin, criterion = net, cross_entropy
    if autocast:
        twin = autocast_module(net, CPU, BFLOAT16)
        criterion = AutocastCriterion(cross_entropy, CPU, BFLOAT16)
    size = len(x)
    targets = torch.arange(size)[None] % 3
    batch = Batch(inputs=(x[None],), targets=(targets,), mask=torch.ones(1, size).bool())
    params = {n: p[None] for n, p in trainable_parameters(net).items()}
    return engine(
        PerExampleLoss(module=twin, criterion=criterion), params, batch, dict.fromkeys(params, 0)
    ), batch


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: type(e).__name__)
def test_the_bound_holds_in_bfloat16(engine, name):
    """Each example's weighted gradient, alone, has norm <= C (1 + 1e-6)."""
    net = model(name).eval()
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 9)[:, None]
    grads, batch = gradients(engine, net, x, autocast=True)
    assert grads.losses.dtype == grads.sq_norms().dtype == torch.float32
    rule = Flat(clip_norm=CLIP)
    weights = rule.weights(grads.sq_norms(), batch.mask, rule.init(device_of=torch.zeros(1)))
    assert (weights < 1).any()
    for i in range(9):
        alone = grads.weighted_sum(weights * (torch.arange(9) == i)[None, :, None])
        norm = torch.cat([v.double().flatten() for v in alone.values()]).norm().item()
        assert norm <= CLIP * (1 + 1e-6)
        if weights[0, i] < 1:
            assert norm >= CLIP * (1 - 1e-4)
    plain, _ = gradients(LoopEngine(), net, x, autocast=False)
    assert not torch.equal(plain.losses, grads.losses)  # it did run in bfloat16
    assert torch.allclose(plain.losses, grads.losses, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("name", MODELS)
def test_engines_agree_to_the_precision(name):
    """To what bfloat16 leaves of two orders of the same operations, not to rounding of float32."""
    net, x = model(name).eval(), torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    ours, truth = (gradients(engine, net, x, autocast=True)[0] for engine in (GraphEngine(), LoopEngine()))
    assert torch.allclose(ours.sq_norms(), truth.sq_norms(), rtol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_refused(make, dtype):
    with pytest.raises(
        ValueError, match=r"autocast must be torch\.bfloat16 or None, found autocast=torch\.float"
    ):
        make(autocast=dtype)
