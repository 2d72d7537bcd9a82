"""Who gets which job: decided on paper, with workers whose every answer is given by the test."""

import pytest

from clifftop.lab.executors.crew import Crew, Shift, Worker
from clifftop.lab.jobs import ExecutorError, Failed, Job, Trained, WorkerLost, train
from clifftop.testing.stores import ToyTrainer, toy_spec

LOST = WorkerLost(reason="it fell")


class Scripted(Worker):
    """Answers what its script says: "ready", "lost", "train" (a block of its job), an outcome; then never."""

    def __init__(self, name, script, log):
        self.name, self.script, self.log = name, list(script), log
        self.outcomes, self.stops = None, 0

    def ask(self, job):
        if job is not None:
            self.log.append((self.name, job.specs[0].seed, job.step))
            self.outcomes = train(ToyTrainer(), job)

    def answer(self):
        said = self.script.pop(0)
        if said == "train":
            return next(self.outcomes)
        return {"ready": None, "lost": LOST}.get(said, said)

    def dismiss(self):
        self.log.append((self.name, "dismissed"))

    def stop(self):
        self.stops += 1


class ScriptedCrew(Crew):
    def __init__(self, size, *scripts):
        self.scripts, self.log, self.hired = list(scripts), [], []
        self._size = size

    @property
    def size(self):
        return self._size

    def hire(self):
        worker = Scripted(f"w{len(self.hired)}", self.scripts.pop(0), self.log)
        self.hired.append(worker)
        return worker

    def wait(self, workers):
        able = [worker for worker in workers if worker.script]
        assert able, "a crew would wait for ever"
        return able[:1]


def jobs(count):
    return [Job(specs=(toy_spec(seed=seed, steps=4),)) for seed in range(count)]  # two blocks each


def outcomes_of(crew, count):
    found = list(Shift(crew, jobs(count)).run())
    return [(job.specs[0].seed, type(outcome).__name__) for job, outcome in found]


def test_a_worker_that_never_starts_holds_no_job_and_does_not_hold_up_the_end():
    crew = ScriptedCrew(2, [], ["ready", *["train"] * 6])
    assert outcomes_of(crew, 3) == [(seed, "Trained") for seed in (0, 0, 1, 1, 2, 2)]
    assert [entry for entry in crew.log if "dismissed" in entry] == [("w1", "dismissed")]
    assert [worker.stops for worker in crew.hired] == [1, 0]


def test_a_lost_job_goes_on_at_the_next_free_worker_from_its_last_block():
    crew = ScriptedCrew(2, ["ready", "train", "lost"], ["ready", *["train"] * 6], [])
    found = outcomes_of(crew, 3)
    assert found[:2] == [(0, "Trained"), (0, "WorkerLost")]
    assert crew.log[:4] == [("w0", 0, 0), ("w1", 0, 2), ("w1", 1, 0), ("w1", 2, 0)]
    assert sorted(found[2:]) == [(0, "Trained"), *[(1, "Trained")] * 2, *[(2, "Trained")] * 2]
    assert len(crew.hired) == 3  # one for the one that was lost


def test_losses_count_from_the_last_block():
    falls = ["ready", "lost"]
    crew = ScriptedCrew(1, falls, falls, ["ready", "train", "lost"], falls, falls)
    assert [kind for _, kind in outcomes_of(crew, 1)] == [
        *["WorkerLost"] * 2,
        "Trained",
        *["WorkerLost"] * 2,
        "Failed",
    ]
    assert all(worker.stops for worker in crew.hired)


def test_workers_that_do_not_start_are_tried_three_times_in_a_row():
    crew = ScriptedCrew(1, ["lost"], ["lost"], ["ready", "train", "train"])
    assert outcomes_of(crew, 1) == [(0, "Trained")] * 2
    with pytest.raises(ExecutorError, match="3 workers in a row ended before they were ready: it fell"):
        outcomes_of(ScriptedCrew(1, ["lost"], ["lost"], ["lost"]), 1)


def test_a_trainer_that_does_not_load_ends_the_run():
    crew = ScriptedCrew(2, [Failed(error="ImportError: no", details="")], [])
    with pytest.raises(ExecutorError, match="must be able to load the trainer, found ImportError: no"):
        outcomes_of(crew, 2)
    assert [worker.stops for worker in crew.hired] == [1, 1]


def test_no_more_workers_are_hired_than_there_are_jobs():
    crew = ScriptedCrew(8, ["ready", *["train"] * 4], [])
    outcomes_of(crew, 2)
    assert len(crew.hired) == 2


def test_a_failed_job_frees_its_worker():
    crew = ScriptedCrew(1, ["ready", Failed(error="no", details=""), "train", "train"])
    assert outcomes_of(crew, 2) == [(0, "Failed"), (1, "Trained"), (1, "Trained")]


def test_what_is_yielded_is_the_job_that_was_asked_for():
    crew = ScriptedCrew(1, ["ready", "train", "train"])
    (first, one), (second, two) = Shift(crew, jobs(1)).run()
    assert (first.step, first.state, second.step) == (0, None, 2)
    assert isinstance(one, Trained)
    assert second.state == one.block.state
    assert two.block.finished
