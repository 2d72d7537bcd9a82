"""Executors in this process and in a pool: the checks for every executor, and what is theirs alone."""

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
from clifftop.lab.executors import InProcess, ProcessPool, executor_named
from clifftop.lab.executors.interrupts import interrupts_held
from clifftop.lab.jobs import ExecutorError, Failed, Job, WorkerLost, train
from clifftop.lab.runner import SweepError, run_sweep
from clifftop.lab.store import Store
from clifftop.testing import executors
from clifftop.testing.executors import EXECUTOR_CHECKS, WORKER_CHECKS, Subject
from clifftop.testing.sessions import check_a_killed_parent_takes_its_workers, check_ctrl_c_leaves_nothing
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

HERE = Path(__file__).parent

needs_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to list processes")


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


@pytest.mark.parametrize("check", EXECUTOR_CHECKS)
def test_this_process(check, tmp_path):
    check(Subject(executor=InProcess(), workers=1), tmp_path)


@pytest.mark.parametrize("check", [*EXECUTOR_CHECKS, *WORKER_CHECKS])
def test_pool(check, tmp_path):
    check(Subject(executor=ProcessPool(workers=2), workers=2), tmp_path)
    assert active_children() == []


class Broken:
    """An executor in this process that does one thing wrong."""

    def __init__(self, fault):
        self.fault = fault

    most_workers = 1

    def run(self, trainer, jobs):
        if self.fault == "pulls all jobs first":
            jobs = list(jobs)
        if self.fault == "hides an error of the source":
            jobs = self.until_error(jobs)
        for job in jobs:
            state = None if self.fault == "forgets the state" else job.state
            outcomes = train(trainer, Job(specs=job.specs, state=state, step=job.step))
            if self.fault == "trains the job to its end at once":
                outcomes = iter(list(outcomes))
            if self.fault == "loses the first block":
                next(outcomes)
            for outcome in outcomes:
                if self.fault == "raises what the trainer raised" and isinstance(outcome, Failed):
                    raise ValueError(outcome.error)
                yield job, outcome

    @staticmethod
    def until_error(jobs):
        with contextlib.suppress(LookupError):
            yield from jobs


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("loses the first block", executors.check_blocks_are_the_trainers),
        ("pulls all jobs first", executors.check_jobs_are_pulled_when_a_worker_is_free),
        ("hides an error of the source", executors.check_a_failing_source_ends_the_run),
        ("raises what the trainer raised", executors.check_a_trainer_that_raises_fails_its_job_only),
        ("forgets the state", executors.check_large_states_pass),
        ("trains the job to its end at once", executors.check_no_worker_runs_far_ahead),
    ],
)
def test_the_checks_notice(fault, check, tmp_path):
    check(Subject(executor=Broken(None), workers=1), tmp_path)
    (tmp_path / "log").unlink(missing_ok=True)
    with pytest.raises((AssertionError, ValueError)):
        check(Subject(executor=Broken(fault), workers=1), tmp_path)


@needs_linux
@pytest.mark.parametrize("construct", ["InProcess()", "ProcessPool(workers=2)"])
def test_ctrl_c(construct, tmp_path):
    check_ctrl_c_leaves_nothing(construct, tmp_path)


@needs_linux
@pytest.mark.parametrize("pause", [0.05, 30.0], ids=["between blocks", "inside a block"])
def test_workers_end_with_a_killed_parent(pause, tmp_path):
    check_a_killed_parent_takes_its_workers("ProcessPool(workers=2)", tmp_path, pause=pause)


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
from clifftop.testing import executors
from clifftop.testing.executors import EXECUTOR_CHECKS, WORKER_CHECKS, Subject
from clifftop.testing.sessions import check_a_killed_parent_takes_its_workers, check_ctrl_c_leaves_nothing
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


@needs_linux
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


@needs_linux
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
from clifftop.testing import executors
from clifftop.testing.executors import EXECUTOR_CHECKS, WORKER_CHECKS, Subject
from clifftop.testing.sessions import check_a_killed_parent_takes_its_workers, check_ctrl_c_leaves_nothing
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


def test_executors_by_name():
    assert executor_named("in-process") == InProcess()
    assert executor_named("in-process", workers=1) == InProcess()
    assert executor_named("pool", workers=3) == ProcessPool(workers=3)
    assert executor_named("pool").workers >= 1
    for name, options, message in (
        ("threads", {}, "executor must be one of in-process, pool, ray, found executor='threads'"),
        ("pool", {"address": "auto"}, "only executor='ray' has an address, found address='auto'"),
        ("in-process", {"workers": 2}, "executor='in-process' has one worker, found workers=2"),
    ):
        with pytest.raises(ExecutorError, match=message):
            executor_named(name, **options)
    with pytest.raises(ValueError, match="workers must be a whole number >= 1, found workers=0"):
        executor_named("pool", workers=0)


def test_interrupts_are_held_and_delivered_at_the_end():
    reached = []

    def interrupt():
        with interrupts_held():
            with interrupts_held():
                os.kill(os.getpid(), signal.SIGINT)
                reached.append("inner")
            reached.append("outer")
        reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert reached == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
