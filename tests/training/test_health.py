"""Numbers that are no longer numbers, several ranks."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from clifftop import events
from clifftop.checks import NoChecks
from clifftop.clipping import Flat
from clifftop.clipping.base import ClippingRule
from clifftop.training import NonFiniteGradients, NonFiniteParameters
from clifftop.training.health import BatchWatch, require_finite


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


class Adaptive(ClippingRule):
    """A rule that would read every example of the batch, and accounts for it."""

    fixed = Flat(clip_norm=1.0)
    init, stack, template = fixed.init, fixed.stack, fixed.template
    groups, weights, norm_bound = fixed.groups, fixed.weights, fixed.norm_bound

    def event(self):
        return events.Gaussian(10.0)


def test_a_rule_that_reads_the_batch_needs_all_of_it(make):
    plan = replace(make().plan, clipping=Adaptive())
    make(plan=plan)
    wanted = "must see all of it, found Adaptive with world_size=2: .* train on one process"
    with pytest.raises(ValueError, match=wanted):
        make(plan=plan, ranks=TwoRanks(0, {}))


def test_indices_are_dealt_after_the_one_draw(make):
    board = {}
    make(ranks=TwoRanks(0, board))
    trainer = make(ranks=TwoRanks(1, board))
    indices, batch = trainer._stepper.draw(0, trainer._open_streams)
    assert batch.padded_size == len(indices) // 2
    assert torch.equal(batch.inputs[0][0], trainer.inputs[0][torch.from_numpy(np.asarray(indices))[1::2]])
