"""The Trainer on several ranks: one process's run, one charge, one error for all; killed, it goes on."""

import math

import pytest
import torch

from clifftop.parallel import Alone

STEPS = 40


@pytest.fixture(scope="module")
def alone(rank_script):
    return lambda name: getattr(rank_script, f"scenario_{name}")(Alone(), None)


@pytest.fixture(scope="module")
def trained_alone(alone):
    return alone("trainer")


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("name", ["momentum", "adam", "fixed order", "microbatches"])
def test_ranks_train_as_one_process_does(ranks_found, trained_alone, name, world_size):
    """With dropout, and with batches that are empty on some ranks, or on all."""
    found = [ranks_found("trainer", world_size, rank)[name] for rank in range(world_size)]
    for one in found:
        assert torch.allclose(one, trained_alone[name], rtol=0, atol=1e-12)
        assert torch.equal(one, found[0])


def test_other_runs_end_elsewhere(rank_script, trained_alone):
    """What the comparison above would find."""
    start = rank_script.flat(rank_script.problem()[0])
    ends = [start, trained_alone["momentum"], trained_alone["adam"], trained_alone["fixed order"]]
    for i, one in enumerate(ends):
        assert not any(torch.allclose(one, other, rtol=0, atol=1e-3) for other in ends[:i])


@pytest.mark.parametrize("world_size", [2, 4])
def test_each_rank_reads_its_own_rows_only(ranks_found, alone, world_size):
    ranks = [ranks_found("rows", world_size, rank) for rank in range(world_size)]
    wanted = alone("rows")
    # Row 0 stands in for an empty part, so it may be read besides.
    read = [row for one in ranks for row in one if row]
    assert sorted(read) == sorted(row for row in wanted if row)
    assert max(map(len, ranks)) < len(wanted)


@pytest.mark.parametrize("world_size", [2, 4])
def test_shards_are_even_and_a_record_is_of_the_ranks_own_examples(ranks_found, alone, world_size):
    """Weighted by their numbers of examples, the ranks' mean losses give the batch's."""
    whole = alone("records")
    ranks = [ranks_found("records", world_size, rank) for rank in range(world_size)]
    by_step = list(zip(*(one["sizes"] for one in ranks), strict=True))
    assert all(max(sizes) - min(sizes) <= 1 for sizes in by_step)
    assert any(max(sizes) == 0 for sizes in by_step)
    assert any(min(sizes) == 0 < max(sizes) for sizes in by_step)
    for step, sizes in enumerate(by_step):
        assert sum(sizes) == whole["sizes"][step]
        losses = [one["losses"][step] for one in ranks]
        assert [math.isnan(loss) for loss in losses] == [size == 0 for size in sizes]
        total = sum(size * loss for size, loss in zip(sizes, losses, strict=True) if size)
        if sum(sizes):
            assert total / sum(sizes) == pytest.approx(whole["losses"][step], rel=1e-12)
    for one in ranks:
        assert one["noise norms"] == pytest.approx(whole["noise norms"], rel=1e-12)


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_optimisers_state_may_be_sharded(ranks_found, trained_alone, world_size):
    """And saved. Adam keeps two moments of each of 57 parameters, and a count of steps of 4 tensors."""
    found = [ranks_found("sharded_state", world_size, rank) for rank in range(world_size)]
    for one in found:
        assert torch.allclose(one["parameters"], trained_alone["adam"], rtol=0, atol=1e-12)
        assert torch.equal(one["parameters"], one["resumed"])
    assert sum(one["held"] for one in found) == 2 * 57 + 4
    assert max(one["held"] for one in found) < 2 * 57


def test_sharded_parameters_are_refused_by_name(ranks_found):
    for rank in range(4):
        assert ranks_found("sharded_parameters", 4, rank).startswith(
            "ValueError: parameters must be whole on every rank, found '0.weight' of type=DTensor; "
        )
    assert ranks_found("sharded_parameters", 2, 0) == ""


@pytest.mark.parametrize("world_size", [2, 4])
def test_what_differs_at_the_start_is_told_to_every_rank(ranks_found, world_size):
    ranks = [ranks_found("start", world_size, rank) for rank in range(world_size)]
    for said in ranks:
        assert said == ranks[0]
        for name, line in said.items():
            assert line.startswith("ValueError: every rank must hold the same "), (name, line)
            assert f"found ranks=[{world_size - 1}] different from rank 0" in line
    assert "the same seed," in ranks[0]["seed"]
    assert "value of parameter '3.bias'" in ranks[0]["value"]
    assert "number of steps" in ranks[0]["steps"]
    assert "the same plan, found" in ranks[0]["plan"]
    assert "the same num_examples, found" in ranks[0]["rows"]
    assert "the same charge_steps, found" in ranks[0]["block"]
    assert "the same seed," in ranks[0]["seed at fit"] == ranks[0]["seed at save"]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_that_came_apart_are_told_before_more_steps_and_before_a_checkpoint(ranks_found, world_size):
    for rank in range(world_size):
        said = ranks_found("start", world_size, rank)
        for call in ("fit", "save"):
            assert "value of parameter '3.bias'" in said[call]
        assert "'scale'" in said["buffer at fit"]


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_ledger_is_charged_once(ranks_found, world_size):
    ranks = [ranks_found("ledger", world_size, rank) for rank in range(world_size)]
    assert [note.split(": ")[1] for note in ranks[0]["notes"]] == [
        "steps 1 to 5",
        "steps 6 to 8",
        "steps 9 to 12",
    ]
    for one in ranks:
        assert one["steps"] == 12
        assert "epsilon at delta=1e-05 must stay <= 3.3" in one["stopped"]
    assert ranks[0]["stopped"].startswith("BudgetExceeded: ")
    assert ranks[1]["stopped"].startswith("RuntimeError: rank 1: stopped, because rank 0 stopped: ")
    for one in ranks:
        lacking, other = one["elsewhere"]
        assert lacking.startswith(
            "ValueError: every rank must hold the same lack of a ledger (rank 0 has none"
        )
        assert "found ranks=[1] different from rank 0" in lacking
        assert "neighboring_relation=ADD_OR_REMOVE_ONE, found ZERO_OUT" in other


@pytest.fixture(scope="module")
def undisturbed(rank_script):
    trainer = rank_script.make_trainer(Alone(), optimizer=rank_script.adam)
    trainer.fit(steps=STEPS)
    return rank_script.flat(trainer.module)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_run_whose_rank_was_killed_goes_on_from_its_checkpoint(
    job, rank_script, tmp_path, undisturbed, lost
):
    """On one rank and on two, whichever rank was killed."""
    train = rank_script.train_with_checkpoints
    with job(tmp_path, train, STEPS, 4, resumed=False, world_size=2) as running:
        running.wait_for("step.14")
        running.send(lost)
        line, _ = running.failure(1 - lost)
    assert "another rank must answer" in line
    one = rank_script.make_trainer(Alone(), optimizer=rank_script.adam)
    one.load(tmp_path / "checkpoint.pt")
    assert 12 <= one.steps_done < STEPS
    one.fit(steps=STEPS - one.steps_done)
    assert torch.allclose(rank_script.flat(one.module), undisturbed, rtol=0, atol=1e-12)
    (tmp_path / "rendezvous").unlink()
    with job(tmp_path, train, STEPS, 4, resumed=True, world_size=2) as running:
        running.finish()
    for rank in range(2):
        assert torch.allclose(torch.load(tmp_path / f"end.{rank}.pt"), undisturbed, rtol=0, atol=1e-12)
