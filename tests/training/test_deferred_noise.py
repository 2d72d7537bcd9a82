"""Tables that are trained by rows: settled before anything leaves the trainer, resumed exactly."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from clifftop.capture import CapturedSumming
from clifftop.noise import Keyed, Secure
from clifftop.tables import DeferredTables, StreamNormals
from clifftop.training import Fixed

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


@pytest.mark.parametrize(
    ("parts", "stopped"),
    [({}, 3), ({}, 6), ({}, 9), ({"summing": CapturedSumming()}, 6)],
    ids=["3", "6", "9", "captured"],
)
def test_a_run_with_everything_resumes_bit_for_bit(make_recommender, flat, tmp_path, parts, stopped):
    """With evaluations, a schedule and checkpoints on their own beats; other seeds are overruled."""
    ends, heard = [], []
    for resumed in (False, True):
        seen = {}

        def look(step, module, seen=seen):
            assert not module.training
            seen[step] = module.table.weight.detach().clone()

        def build(seed, tables_seed):
            trainer = make_recommender(seed=seed, **parts)
            trainer.deferred.tables.close()
            trainer.deferred = None
            tables = DeferredTables(trainer.module, trainer.optimizer, seed=tables_seed)
            return make_recommender(
                module=trainer.module,
                optimizer=trainer.optimizer,
                scheduler=trainer.scheduler,
                seed=seed,
                deferred=tables,
                **parts,
            )

        beats = {"evaluate": look, "evaluate_every": 2, "checkpoint_every": 3}
        trainer = build(0, 5)
        if resumed:
            trainer.fit(steps=stopped, checkpoint=tmp_path / "b", **beats)
            trainer = build(8, 6)
            trainer.load(tmp_path / "b")
        else:
            # What `fit` does at its end, it does here too.
            trainer.fit(steps=stopped, checkpoint=tmp_path / "a", **beats)
        trainer.fit(steps=12 - stopped, checkpoint=tmp_path / "a", **beats)
        ends.append(flat(trainer))
        heard.append(seen)
    assert torch.equal(*ends)
    assert heard[0].keys() == heard[1].keys() == {2, 4, 6, 8, 10, 12, stopped}
    rows = [heard[0][step] for step in sorted(heard[0])]
    for step, found in heard[0].items():
        assert torch.equal(found, heard[1][step])
    for before, after in pairwise(rows):
        assert (before != after).any(1).all()  # at each evaluation every row had all its noise


@pytest.mark.parametrize(
    "parts", [{"summing": CapturedSumming()}, {"microbatches": Fixed(4)}], ids=["captured", "slices"]
)
def test_other_ways_to_the_sum_train_alike(make_recommender, flat, parts):
    plain, other = make_recommender(), make_recommender(**parts)
    plain.fit(steps=6)
    other.fit(steps=6)
    assert torch.allclose(flat(plain), flat(other), rtol=1e-4, atol=1e-5)


def test_rows_are_settled_by_cryptographic_noise_unless_told_otherwise():
    like = torch.zeros(9)
    drawn = [
        StreamNormals(3, kind)(purpose="read 0", step=4, like=like) for kind in (None, Secure(), Keyed())
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_several_ranks_are_refused(make_recommender):
    class Two:
        rank, world_size = 0, 2

    with pytest.raises(ValueError, match="deferred noise must be that of one process, found world_size=2"):
        make_recommender(ranks=Two())
