"""Tables that are trained by rows: settled before anything leaves the trainer, resumed exactly."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from clifftop.gradients import VmapEngine
from clifftop.tables import DeferredTables

ROWS = 400


class Recommender(nn.Module):
    """Two lookups in one table and a linear layer."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 4, sparse=sparse)
        self.top = nn.Linear(8, 1)

    def forward(self, ids):
        return self.top(self.table(ids).flatten(1)).squeeze(1)


def squared(output, target):
    return (output - target).square()


class Watched:
    """Deferred tables that write down when they are settled."""

    def __init__(self, tables):
        self.tables, self.flushes = tables, 0

    def __getattr__(self, name):
        return getattr(self.tables, name)

    def flush(self):
        self.flushes += 1
        self.tables.flush()


@pytest.fixture
def make_recommender(make):
    def build(*, sigma=1.0, dense=False, **changes):
        torch.manual_seed(0)
        model = Recommender(sparse=not dense)
        ids, targets = torch.randint(0, ROWS, (60, 2)), torch.randn(60)
        optimizer = SGD(model.parameters(), lr=0.1)
        parts = {
            "module": model,
            "optimizer": optimizer,
            "scheduler": lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
            "criterion": squared,
            "inputs": (ids,),
            "targets": (targets,),
            "engine": VmapEngine(),
            "deferred": None if dense else Watched(DeferredTables(model, optimizer, seed=5)),
        }
        return make(sigma=sigma, **(parts | changes))

    return build


def test_without_noise_it_is_the_dense_run(make_recommender, flat):
    """Rows, gradients and the changing learning rate; the noise itself is the tables' own tests'."""
    by_rows, dense = make_recommender(sigma=0.0), make_recommender(sigma=0.0, dense=True)
    by_rows.fit(steps=7)
    dense.fit(steps=7)
    assert torch.allclose(flat(by_rows), flat(dense), rtol=1e-5, atol=1e-7)
    assert by_rows.module.table.weight.grad is None


def test_every_row_has_its_noise_when_fit_returns(make_recommender):
    trainer = make_recommender()
    before = trainer.module.table.weight.detach().clone()
    trainer.step()
    seen = trainer.inputs[0].unique()
    unread = torch.ones(ROWS, dtype=torch.bool)
    unread[seen] = False
    assert torch.equal(trainer.module.table.weight[unread], before[unread])  # still owed
    trainer.fit(steps=1)
    assert (trainer.module.table.weight != before).all()


@pytest.mark.parametrize("leave", ["evaluate", "state_dict", "save", "epsilon"])
def test_it_is_settled_before_anything_leaves(make_recommender, tmp_path, leave):
    trainer = make_recommender()
    trainer.step()
    settled = trainer.deferred.flushes
    found = []
    if leave == "evaluate":
        trainer.fit(steps=1, evaluate=lambda step, module: found.append(trainer.deferred.flushes))
        assert found == [settled + 1]
    else:
        {
            "state_dict": trainer.state_dict,
            "save": lambda: trainer.save(tmp_path / "x"),
            "epsilon": lambda: trainer.epsilon(delta=1e-5),
        }[leave]()
        assert trainer.deferred.flushes == settled + 1


def test_it_resumes_exactly(make_recommender, flat, tmp_path):
    """Both runs settle where they save, so both save."""
    whole, first = make_recommender(), make_recommender()
    for trainer in (whole, first):
        trainer.fit(steps=5, checkpoint=tmp_path / "x", checkpoint_every=2)
    whole.fit(steps=4)
    second = make_recommender(seed=8)
    second.load(tmp_path / "x")
    second.fit(steps=4)
    assert torch.equal(flat(whole), flat(second))


def test_several_ranks_are_refused(make_recommender):
    class Two:
        rank, world_size = 0, 2

    with pytest.raises(ValueError, match="deferred noise must be that of one process, found world_size=2"):
        make_recommender(ranks=Two())
