"""Numbers that are no longer numbers, lower precision, several ranks."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from clifftop.checks import NoChecks
from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, VmapEngine
from clifftop.gradients.base import trainable_parameters
from clifftop.training import NonFiniteGradients, NonFiniteParameters
from clifftop.training.health import BatchWatch, require_finite
from clifftop.training.precision import AutocastCriterion, autocast_module


def test_a_batch_of_nothing_finite_warns_once_and_names_no_example(make):
    trainer = make(inputs=(torch.full((60, 5), torch.nan),), checks=NoChecks())
    with pytest.warns(NonFiniteGradients, match="every example's was NaN or infinite") as caught:
        trainer.fit(steps=5)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "\n" not in message
    assert not any(
        word.isdigit() and word != "0" for word in message.replace("(", " ").replace(")", " ").split()
    )


def test_one_finite_example_is_enough(make):
    inputs = torch.full((60, 5), torch.nan)
    inputs[::2] = 1.0
    trainer = make(inputs=(inputs,), checks=NoChecks(), prob=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = trainer.step()
    assert record.num_nonfinite.item() == 30
    assert torch.isfinite(torch.cat([p.flatten() for p in trainer.module.parameters()])).all()


def test_an_empty_batch_is_no_reason_to_warn():
    watch = BatchWatch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch(torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1, 3, 1))


def test_training_that_diverges_stops(make):
    trainer = make(optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=1e38))
    lost = "found '.*' with NaN or infinite entries after steps_done="
    with pytest.warns(NonFiniteGradients), pytest.raises(NonFiniteParameters, match=lost):
        trainer.fit(steps=1000)
    assert trainer.steps_done < 1000


def test_large_but_finite_parameters_go_on():
    """Their sum overflows, and that alone is no reason to stop."""
    require_finite({"w": torch.full((10,), 3e38)}, steps_done=1)
    with pytest.raises(NonFiniteParameters, match="'w'"):
        require_finite({"w": torch.tensor([1.0, -torch.inf])}, steps_done=1)


def model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 3))


@pytest.mark.parametrize("engine", [LoopEngine(), VmapEngine()], ids=lambda e: type(e).__name__)
def test_bfloat16_trains_with_weights_in_float32(make, engine):
    trainer = make(module=model(), engine=engine, autocast=torch.bfloat16, sigma=0.2, prob=0.5)
    losses = []
    trainer.fit(steps=25, on_step=lambda step, record: losses.append(record.loss.item()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    for p in trainer.module.parameters():
        assert p.dtype == p.grad.dtype == torch.float32
    state = trainer.optimizer.state_dict()["state"]
    assert all(s["exp_avg"].dtype == torch.float32 for s in state.values())
    assert list(trainer.module.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("engine", [LoopEngine(), VmapEngine()], ids=lambda e: type(e).__name__)
def test_the_bound_holds_in_bfloat16(engine):
    """Each example's weighted gradient, alone, has norm <= C (1 + 1e-6)."""
    net, device = model(), torch.device("cpu")
    twin = autocast_module(net, device, torch.bfloat16)
    loss = PerExampleLoss(module=twin, criterion=AutocastCriterion(cross_entropy, device, torch.bfloat16))
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 9)[:, None]
    batch = Batch(inputs=(x[None],), targets=(torch.arange(9)[None] % 3,), mask=torch.ones(1, 9).bool())
    params = {n: p[None] for n, p in trainable_parameters(net).items()}
    grads = engine(loss, params, batch, dict.fromkeys(params, 0))
    assert grads.losses.dtype == grads.sq_norms().dtype == torch.float32
    rule = Flat(clip_norm=0.1)
    weights = rule.weights(grads.sq_norms(), batch.mask, rule.init(device_of=torch.zeros(1)))
    for i in range(9):
        alone = grads.weighted_sum(weights * (torch.arange(9) == i)[None, :, None])
        norm = torch.cat([v.double().flatten() for v in alone.values()]).norm().item()
        assert norm <= 0.1 * (1 + 1e-6)
    plain = LoopEngine()(
        PerExampleLoss(module=net, criterion=cross_entropy), params, batch, dict.fromkeys(params, 0)
    )
    assert not torch.equal(plain.losses, grads.losses)  # it did run in bfloat16
    assert torch.allclose(plain.losses, grads.losses, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_refused(make, dtype):
    with pytest.raises(
        ValueError, match=r"autocast must be torch\.bfloat16 or None, found autocast=torch\.float"
    ):
        make(autocast=dtype)


class TwoRanks:
    """Both ranks of a run in one process: what one adds up waits here for the other."""

    def __init__(self, rank, board):
        self.rank, self.world_size, self.board, self.turn = rank, 2, board, 0

    def shard(self, indices):
        return indices[self.rank :: 2]

    def all_reduce(self, tensors):
        key, self.turn = self.turn, self.turn + 1
        mine = self.board.setdefault(key, {})
        mine[self.rank] = [t.clone() for t in tensors]
        if len(mine) == 2:
            for t, other in zip(tensors, mine[1 - self.rank], strict=True):
                t.add_(other)

    def agree(self, what, value):
        assert self.board.setdefault(what, value) == value


def test_two_ranks_release_the_sum_of_their_parts(make):
    """Rank 0's part waits on the board; rank 1 then has the gradient of the whole batch, dropout and all."""
    whole = make(optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.0), prob=0.5)
    whole.step()
    board = {}
    for rank in (0, 1):
        trainer = make(
            optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.0),
            prob=0.5,
            ranks=TwoRanks(rank, board),
        )
        trainer.step()
    for ours, theirs in zip(trainer.module.parameters(), whole.module.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_indices_are_dealt_after_the_one_draw(make):
    trainer = make(ranks=TwoRanks(1, {}))
    indices, batch = trainer._stepper.draw(0, trainer._open_streams)
    assert batch.padded_size == len(indices) // 2
    assert torch.equal(batch.inputs[0][0], trainer.inputs[0][torch.from_numpy(np.asarray(indices))[1::2]])
