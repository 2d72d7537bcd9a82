"""Checkpoints: exact, whole or not there, and refused in one line where they are not what they should be."""

import os
import stat

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, lr_scheduler

from clifftop.gradients import GraphEngine
from clifftop.gradients.graph import Measured
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import BatchSampler
from clifftop.training import Automatic, CheckpointError, Fixed, NonFiniteParameters
from clifftop.training.checkpoint import digest, read, write

SCHEDULERS = {
    "none": None,
    "step": lambda o: lr_scheduler.StepLR(o, 3),
    "milestones": lambda o: lr_scheduler.MultiStepLR(o, [2, 9]),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "warm": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)], [4]
    ),
}
OPTIMIZERS = {
    "momentum": lambda m: SGD(m.parameters(), lr=0.05, momentum=0.9),
    "adamw": lambda m: AdamW(m.parameters(), lr=0.02),
    "adagrad": lambda m: torch.optim.Adagrad(m.parameters(), lr=0.05),
}


@pytest.fixture
def make_with(make):
    """A trainer with a scheduler, named."""

    def build(scheduler="none", **changes):
        trainer = make(**changes)
        if SCHEDULERS[scheduler] is None:
            return trainer
        rate = SCHEDULERS[scheduler](trainer.optimizer)
        return make(
            **(changes | {"module": trainer.module, "optimizer": trainer.optimizer, "scheduler": rate})
        )

    return build


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_equals_an_uninterrupted_one(make_with, flat, tmp_path, scheduler, optimizer):
    build = {"optimizer": OPTIMIZERS[optimizer]}
    whole = make_with(scheduler, **build)
    whole.fit(steps=12)
    path = tmp_path / "run.pt"
    first = make_with(scheduler, **build)
    first.fit(steps=5, checkpoint=path)
    second = make_with(scheduler, seed=99, **build)
    second.load(path)
    second.fit(steps=7, checkpoint=path, checkpoint_every=3)
    assert torch.equal(flat(whole), flat(second))
    assert (second.seed, second.steps_done) == (0, 12)
    assert read(path)["steps_done"] == 12


def test_it_is_written_at_every_multiple_and_at_the_end(make, tmp_path):
    seen = []
    trainer = make()
    path = tmp_path / "run.pt"
    trainer.fit(
        steps=7,
        checkpoint=path,
        checkpoint_every=3,
        on_step=lambda step, record: seen.append(read(path)["steps_done"] if path.exists() else 0),
    )
    assert seen == [0, 0, 0, 3, 3, 3, 6]
    assert read(path)["steps_done"] == 7


def test_it_is_plain_and_its_names_are_the_users_own(make, tmp_path):
    trainer = make()
    trainer.fit(steps=1, checkpoint=tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    assert list(saved["module"]) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    fresh = make().module
    fresh.load_state_dict(saved["module"])
    assert torch.equal(fresh[0].weight, trainer.module[0].weight)
    assert saved["claims"]["plan"]["noise"]["noise_multiplier"] == 1.0
    assert saved["version"] == 1


def test_only_its_owner_may_read_it(make, tmp_path):
    """It holds the seed, and with it the noise."""
    make().save(tmp_path / "run.pt")
    assert stat.S_IMODE((tmp_path / "run.pt").stat().st_mode) == 0o600


def test_it_keeps_the_microbatch_size_that_was_chosen(make, tmp_path):
    """Another size would add floats in another order; another rule is the user's own wish."""
    trainer = make(microbatches=Automatic(budget_bytes=2000))
    trainer.fit(steps=2, checkpoint=tmp_path / "run.pt")
    same = make(microbatches=Automatic(budget_bytes=2000))
    same.load(tmp_path / "run.pt")
    assert same.microbatch_size == trainer.microbatch_size is not None
    other = make(microbatches=Fixed(2))
    other.load(tmp_path / "run.pt")
    other.fit(steps=1)
    assert other.microbatch_size == 2


DIFFERENT = {
    "noise": ({"sigma": 2.0}, r"plan.noise.noise_multiplier=1.0 there and 2.0 here"),
    "clip": ({"clip": 0.5}, r"plan.clipping.clip_norm=1.0 there and 0.5 here"),
    "data": (
        {"inputs": (torch.zeros(59, 5),), "targets": (torch.zeros(59).long(),)},
        "num_examples=60 there",
    ),
    "streams": ({"streams": Keyed()}, r"streams.* there and .* here"),
    "module": (
        {"module": nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Dropout(0.2), nn.Linear(9, 3))},
        r"module.0.weight=torch.float32\[8, 5\] there and torch.float32\[9, 5\] here",
    ),
    "optimiser": ({"optimizer": lambda m: SGD(m.parameters(), lr=0.1)}, "optimizer=Adam there and SGD here"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_run_is_refused_by_name_and_nothing_changes(make, flat, tmp_path, what):
    changes, message = DIFFERENT[what]
    trainer = make()
    trainer.fit(steps=2, checkpoint=tmp_path / "run.pt")
    other = make(**changes)
    before = flat(other)
    with pytest.raises(CheckpointError, match=rf"run.pt: .*{message}.*; construct the Trainer as"):
        other.load(tmp_path / "run.pt")
    assert torch.equal(before, flat(other))
    assert other.steps_done == 0


def test_another_relation_is_named(make, tmp_path):
    trainer = make()
    trainer.save(tmp_path / "run.pt")
    zero_out = type(trainer.plan.neighboring_relation).ZERO_OUT
    other = make(plan=PrivacyPlan(**{**vars(trainer.plan), "neighboring_relation": zero_out}))
    with pytest.raises(
        CheckpointError, match=r"neighboring_relation.name=ADD_OR_REMOVE_ONE there and ZERO_OUT"
    ):
        other.load(tmp_path / "run.pt")


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_a_truncated_file_is_one_clear_error(make, flat, tmp_path, cut):
    path = tmp_path / "run.pt"
    make().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    trainer = make()
    before = flat(trainer)
    with pytest.raises(CheckpointError) as caught:
        trainer.load(path)
    assert "found a damaged or another kind of file" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(before, flat(trainer))


def test_a_flipped_bit_of_a_weight_is_found(make, tmp_path):
    """The file's own reader would not notice: negative control."""
    path = tmp_path / "run.pt"
    trainer = make()
    trainer.save(path)
    raw = bytearray(path.read_bytes())
    place = raw.find(trainer.module[0].weight.detach().numpy().tobytes())
    assert place > 0
    raw[place] ^= 1
    path.write_bytes(bytes(raw))
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match="its content is not what its digest says"):
        make().load(path)


def test_foreign_files_are_refused(make, tmp_path):
    path = tmp_path / "x"
    with pytest.raises(CheckpointError, match="there is no checkpoint; train from the start"):
        make().load(path)
    path.write_text("hello, this is no checkpoint")
    with pytest.raises(CheckpointError, match="another kind of file"):
        make().load(path)
    torch.save({"model": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="found another kind of file; nothing was loaded"):
        make().load(path)
    torch.save({"format": "clifftop checkpoint", "version": 7}, path)
    with pytest.raises(CheckpointError, match="must be of version 1, found version=7"):
        make().load(path)


class Evil:
    """Runs code when unpickled without care."""

    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def test_code_in_a_file_does_not_run(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "clifftop checkpoint", "version": 1, "x": Evil()}, tmp_path / "x")
    with pytest.raises(CheckpointError, match="must be a whole checkpoint"):
        make().load("x")
    assert not (tmp_path / "evil-was-here").exists()


def test_a_state_that_could_not_be_loaded_is_not_written(make, tmp_path):
    path = tmp_path / "run.pt"
    make().save(path)
    old = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"must hold tensors and plain values only.*untouched"):
        write(path, {"x": Evil()})
    with pytest.raises(CheckpointError, match="must hold tensors and plain values only"):
        write(path, {"x": lambda: None})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_one_line(make, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"cannot be written \(.*\); the file that was there is untouched"
    ):
        make().save(tmp_path / "absent" / "run.pt")


def test_parameters_that_are_lost_do_not_overwrite_a_checkpoint(make, tmp_path):
    path = tmp_path / "run.pt"
    trainer = make()
    trainer.fit(steps=1, checkpoint=path)
    old = path.read_bytes()
    with torch.no_grad():
        trainer.module[0].bias[3] = torch.nan
    with pytest.raises(NonFiniteParameters, match=r"found '0.bias' with NaN .* steps_done=1; no checkpoint"):
        trainer.save(path)
    with pytest.raises(NonFiniteParameters):
        trainer.fit(steps=2, checkpoint=path, checkpoint_every=1)
    assert path.read_bytes() == old


def test_a_plan_of_the_users_own_classes_is_compared_by_its_text(make, tmp_path):
    """A class of a notebook has no name that another process could find."""
    trainer = make()

    class Loud(BatchSampler):
        def batch(self, step, *, num_examples, rng):
            return trainer.plan.sampler.batch(step, num_examples=num_examples, rng=rng)

        def __repr__(self):
            return "Loud()"

    silent = {**vars(trainer.plan), "sampler": Loud(), "noise": Gaussian(noise_multiplier=0.0)}
    loud = make(plan=PrivacyPlan(**silent))
    loud.save(tmp_path / "run.pt")
    again = make(plan=PrivacyPlan(**silent))
    again.load(tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="plan"):
        trainer.load(tmp_path / "run.pt")


def test_the_digest_sees_every_kind_of_value():
    states = [
        {"a": torch.zeros(2)}, {"b": torch.zeros(2)}, {"a": torch.zeros(2).long()}, {"a": torch.zeros(1, 2)},
        {"a": torch.tensor([0.0, -0.0])}, {"a": torch.zeros(2).bfloat16()}, {"a": [1, 2]}, {"a": [12]},
        {"a": "12"}, {"a": 12}, {"a": None}, {"a": {}}, {"a": [torch.tensor(True)]},
        {"a": [torch.tensor(False)]}, {},
    ]  # fmt: skip
    assert len({digest(state) for state in states}) == len(states)


def test_measured_choices_are_taken_over(make, tmp_path):
    """Two ways to a norm differ in rounding: a resumed run must choose as the first one did."""

    def trainer(measured: Measured):
        return make(engine=GraphEngine(choices=measured))

    first, second = Measured(), Measured()
    first.load_state_dict({"a layer": {"ghost": 0.1, "formed": 0.2}})
    trainer(first).save(tmp_path / "run.pt")
    trainer(second).load(tmp_path / "run.pt")
    assert second.state_dict() == first.state_dict() != Measured().state_dict()
