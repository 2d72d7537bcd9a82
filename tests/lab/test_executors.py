"""Executors: the pool gives what this process gives, and survives its workers."""

import contextlib
import importlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from clifftop.lab.contract import Status
from clifftop.lab.executors import InProcess, ProcessPool
from clifftop.lab.jobs import ExecutorError, Failed, Job, Trained, WorkerLost
from clifftop.lab.runner import SweepError, run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

HERE = Path(__file__).parent


@pytest.fixture
def script(monkeypatch):
    """The module of faults, importable here and in workers."""
    monkeypatch.syspath_prepend(str(HERE))
    import sweep_script

    return sweep_script


def sweep(store, specs, executor, trainer):
    return run_sweep(
        store,
        specs,
        executor=executor,
        trainer=trainer,
        static_key=toy_static_key,
        cohort_size=toy_cohort_size,
    )


def numbers(store):
    return store.query(
        "SELECT id, status, run.step, metric.name, metric.step, value, first_step, vals FROM run "
        "LEFT JOIN metric ON metric.run = run.key "
        "LEFT JOIN trace ON trace.run = run.key AND trace.name = metric.name ORDER BY 1, 4, 5, 7"
    )


def test_the_pool_equals_this_process(script, tmp_path):
    with Store.open(tmp_path / "one", study="toy") as one, Store.open(tmp_path / "many", study="toy") as many:
        sweep(one, script.study(), InProcess(), ToyTrainer())
        result = sweep(many, script.study(), ProcessPool(workers=3), ToyTrainer())
        assert numbers(many) == numbers(one)
    assert (result.trained, result.diverged) == (8, 3)
    assert result.training_seconds > 0
    assert active_children() == []


def test_a_worker_that_dies_costs_at_most_one_block(script, tmp_path):
    specs = [toy_spec(seed=seed) for seed in range(8)]
    faulty = ToyTrainer(
        log=tmp_path / "log", fault=script.Fault(what="die", seed=0, step=4, marker=tmp_path / "died")
    )
    with Store.open(tmp_path / "one", study="toy") as one, Store.open(tmp_path / "many", study="toy") as many:
        sweep(one, specs, InProcess(), ToyTrainer())
        sweep(many, specs, ProcessPool(workers=2), faulty)
        assert numbers(many) == numbers(one)
        (detail,) = many.query("SELECT detail FROM event WHERE kind = 'worker_lost'")[0]
    assert json.loads(detail) == {"runs": 4, "reason": "a worker process ended with exit code -9"}
    blocks = [line.split(" ", 1) for line in (tmp_path / "log").read_text().splitlines()]
    first = [(pid, int(rest.split()[0])) for pid, rest in blocks if specs[0].id in rest]
    assert [step for _, step in first] == [0, 2, 4, 4]  # the block that it died under, once more
    assert first[3][0] != first[2][0]


def test_a_cohort_that_kills_its_workers_is_given_up(script, tmp_path):
    specs = [toy_spec(seed=seed) for seed in range(8)]
    trainer = ToyTrainer(fault=script.Fault(what="die", seed=0, step=2))
    with Store.open(tmp_path, study="toy") as store:
        with pytest.raises(
            SweepError, match=r"4 of 8 runs failed: .*exit code -9.*3 workers.*use fewer workers"
        ):
            sweep(store, specs, ProcessPool(workers=1), trainer)
        assert list(store.statuses().values()) == [Status.FAILED] * 4 + [Status.DONE] * 4
        assert store.query("SELECT count(*) FROM event WHERE kind = 'worker_lost'") == [(2,)]
    assert active_children() == []


@pytest.mark.parametrize("executor", [InProcess(), ProcessPool(workers=1)], ids=["in process", "pool"])
def test_a_trainer_that_raises_fails_its_job_only(executor, script, tmp_path):
    specs = [toy_spec(seed=seed) for seed in range(8)]
    trainer = ToyTrainer(fault=script.Fault(what="raise", seed=0, step=2))
    with Store.open(tmp_path, study="toy") as store:
        with pytest.raises(SweepError, match="4 of 8 runs failed: 4 x ValueError: the toy broke; "):
            sweep(store, specs, executor, trainer)
        (detail,) = store.query("SELECT detail FROM event WHERE kind = 'cohort_failed'")[0]
    assert "sweep_script.py" in json.loads(detail)["details"]


def test_large_states_pass_in_both_directions(script):
    specs = tuple(toy_spec(seed=seed, steps=4) for seed in range(2))
    outcomes = list(ProcessPool(workers=1).run(script.large_state, [Job(specs=specs)]))
    again = Job(specs=specs, state=outcomes[0][1].block.state, step=2)
    assert len(again.state) > 5_000_000
    resumed = list(ProcessPool(workers=1).run(script.large_state, [again]))
    assert [outcome.block.step for _, outcome in (*outcomes, *resumed)] == [2, 4, 4]
    assert all(isinstance(outcome, Trained) for _, outcome in (*outcomes, *resumed))


def test_closing_the_pool_early_stops_its_workers():
    slow = ToyTrainer(pause=0.05)
    outcomes = ProcessPool(workers=2).run(
        slow, [Job(specs=(toy_spec(seed=s, steps=1000),)) for s in range(3)]
    )
    next(outcomes)
    assert len(active_children()) == 2
    outcomes.close()
    assert active_children() == []


def test_a_pool_is_no_larger_than_its_work():
    outcomes = ProcessPool(workers=8).run(ToyTrainer(), [Job(specs=(toy_spec(),))])
    next(outcomes)
    assert len(active_children()) == 1
    outcomes.close()
    assert list(ProcessPool(workers=2).run(ToyTrainer(), [])) == []


def test_what_a_worker_cannot_load_is_said(tmp_path, monkeypatch):
    with pytest.raises(ExecutorError, match="importable by name"):
        next(ProcessPool(workers=1).run(lambda specs, *, state=None: iter(()), [Job(specs=(toy_spec(),))]))
    (tmp_path / "soon_gone.py").write_text("def trainer(specs, *, state=None):\n    return iter(())\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    trainer = importlib.import_module("soon_gone").trainer
    (tmp_path / "soon_gone.py").unlink()
    with pytest.raises(ExecutorError, match="must be able to load the trainer, found ModuleNotFoundError"):
        next(ProcessPool(workers=1).run(trainer, [Job(specs=(toy_spec(),))]))
    assert active_children() == []


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_a_pool_has_at_least_one_worker(workers):
    with pytest.raises(ValueError, match="workers must be a whole number >= 1, found workers="):
        ProcessPool(workers=workers)


UNGUARDED = """
import sys
from clifftop.lab.executors import ProcessPool
from clifftop.lab.jobs import ExecutorError, Job
from clifftop.testing.stores import ToyTrainer, toy_spec
try:
    list(ProcessPool(workers=1).run(ToyTrainer(), [Job(specs=(toy_spec(),))]))
except ExecutorError as error:
    print(error)
"""


def test_a_script_without_a_guard_is_told_so(tmp_path):
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, tmp_path / "unguarded.py"], capture_output=True, text=True, timeout=30, check=False
    )
    assert "before it was ready; a script must start its work under if __name__ == '__main__'" in done.stdout


@contextlib.contextmanager
def start(script_args):
    """The toy sweep as the leader of its own session, all of which is gone afterwards."""
    with subprocess.Popen(
        [sys.executable, HERE / "sweep_script.py", *map(str, script_args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        try:
            yield parent
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


def members(session):
    """Live processes of a session, from the kernel's table."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if owner == str(session) and state not in "ZX":
            found.append(stat.parent.name)
    return found


def gone(session, seconds=5.0):
    end = time.monotonic() + seconds
    while members(session):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to list processes")
@pytest.mark.parametrize("pause", [0.05, 30.0], ids=["between blocks", "inside a block"])
def test_workers_end_with_a_killed_parent(pause, tmp_path):
    with start([tmp_path / "results", tmp_path / "log", "pool", pause]) as parent:
        end = time.monotonic() + 20
        while not (tmp_path / "log").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert len(members(parent.pid)) >= 3  # the parent and two workers
        parent.kill()
        parent.wait()
        assert gone(parent.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to list processes")
@pytest.mark.parametrize("executor", ["in_process", "pool"])
def test_ctrl_c_stops_cleanly_and_can_be_resumed(executor, script, tmp_path):
    with start([tmp_path / "results", tmp_path / "log", executor, 0.05]) as parent:
        assert parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: to parent and workers
        _, errors = parent.communicate(timeout=10)
        assert parent.returncode == -signal.SIGINT or "KeyboardInterrupt" in errors
        assert errors.count("\nKeyboardInterrupt") == 1  # the parent's own; workers say nothing
        assert gone(parent.pid)
    with Store.open(tmp_path / "results", study="toy") as store:
        assert len(store.checkpoints()) >= 1
        with Store.open(tmp_path / "whole", study="toy") as whole:
            sweep(store, script.study(), InProcess(), ToyTrainer())
            sweep(whole, script.study(), InProcess(), ToyTrainer())
            assert numbers(store) == numbers(whole)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to list processes")
def test_ctrl_c_at_any_time_leaves_no_process_and_no_word_of_a_worker(tmp_path):
    rng = random.Random(7)
    for turn in range(8):
        with start([tmp_path / str(turn), tmp_path / "log", "pool", 0.02]) as parent:
            time.sleep(rng.uniform(0.1, 0.4))
            os.killpg(parent.pid, signal.SIGINT)
            _, errors = parent.communicate(timeout=10)
            assert errors.count("\nKeyboardInterrupt") <= 1, errors
            assert "spawn_main" not in errors, errors
            assert gone(parent.pid)


INTERRUPTED_AT_BIRTH = """
import os, signal
from multiprocessing import active_children, context
from clifftop.lab.executors import ProcessPool
from clifftop.lab.jobs import Job
from clifftop.testing.stores import ToyTrainer, toy_spec

start = context.SpawnProcess.start

def start_and_interrupt(process):
    start(process)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    context.SpawnProcess.start = start_and_interrupt
    try:
        list(ProcessPool(workers=1).run(ToyTrainer(pause=0.1), [Job(specs=(toy_spec(steps=100),))]))
    except KeyboardInterrupt:
        print(len(active_children()), "left")
    for process in active_children():
        process.kill()
"""


def test_ctrl_c_while_a_worker_is_born_leaves_no_process(tmp_path):
    (tmp_path / "interrupted.py").write_text(INTERRUPTED_AT_BIRTH)
    done = subprocess.run(
        [sys.executable, tmp_path / "interrupted.py"], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "0 left\n"


def test_jobs_and_outcomes_can_be_sent():
    job = Job(specs=(toy_spec(),), state=b"x", step=2)
    assert pickle.loads(pickle.dumps(job)) == job
    assert pickle.loads(pickle.dumps(job)).run_ids == (toy_spec().id,)
    for outcome in (Failed(error="a", details="b"), WorkerLost(reason="c")):
        assert pickle.loads(pickle.dumps(outcome)) == outcome
