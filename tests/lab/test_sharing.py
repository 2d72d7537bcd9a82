"""Several processes on one store: no run lost, none trained twice, each returns when all has finished."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from clifftop.lab.contract import Status
from clifftop.lab.runner import SweepError, run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SCRIPT = Path(__file__).with_name("sharing_script.py")
PATIENCE = 60


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import sharing_script

    return sharing_script


@pytest.fixture
def undisturbed(script, tmp_path):
    log = tmp_path / "undisturbed.log"
    script.sweep(tmp_path / "undisturbed", log)
    return contents(tmp_path / "undisturbed"), steps_begun(log)


def contents(folder):
    """Every number of a settled store, and the order of nothing."""
    with Store.read(folder) as store:
        store.check()
        assert store.query("SELECT count(*) FROM checkpoint UNION ALL SELECT count(*) FROM claim") == [
            (0,),
            (0,),
        ]
        return (
            sorted(store.query("SELECT id, status, step, error FROM run")),
            sorted(
                store.query("SELECT id, name, metric.step, value FROM metric JOIN run ON run = key"), key=repr
            ),
            sorted(store.query("SELECT id, name, first_step, vals FROM trace JOIN run ON run = run.key")),
        )


def steps_begun(log):
    """How often each run began a block at each step."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return Counter((run_id, int(step)) for _, step, ids in lines for run_id in ids.split(","))


class Processes:
    """Processes that train into one folder."""

    def __init__(self, folder):
        self.folder, self.log = folder / "shared", folder / "shared.log"
        self.log.touch()

    def start(self, part="all", pause=0.04):
        command = [sys.executable, SCRIPT, self.folder, self.log, part, pause]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, lines):
        """Until so many blocks have begun."""
        since = time.monotonic()
        while len(self.log.read_text().splitlines()) < lines:
            assert time.monotonic() - since < PATIENCE
            time.sleep(0.005)


def ended(process):
    """The lines that a process printed; it must have ended well."""
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return out.splitlines()


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_work(count, undisturbed, tmp_path):
    processes = Processes(tmp_path)
    outputs = [ended(process) for process in [processes.start() for _ in range(count)]]
    expected, needed = undisturbed
    assert contents(processes.folder) == expected
    assert steps_begun(processes.log) == needed  # every block of every run exactly once
    trained = [int(lines[-1].split()[1]) for lines in outputs]
    assert sum(trained) == 36
    assert min(trained) > 0
    most = []
    for lines in outputs:  # each sees the whole sweep end
        reports = [tuple(map(int, line.split())) for line in lines[:-1]]
        assert reports[-1][:4] == (36, 36, 9, 9)
        assert reports == sorted(reports, key=lambda report: report[0])
        most.append(max(report[4] for report in reports))
    # Whoever starts late on a busy machine may not meet the first ones any more.
    assert min(most) >= 2
    assert max(most) == count
    assert list(processes.folder.glob("trainer-*")) == []


def test_lists_that_overlap(undisturbed, tmp_path):
    processes = Processes(tmp_path)
    first, last = processes.start("first"), processes.start("last")
    reports = [ended(first)[-2].split(), ended(last)[-2].split()]
    assert [report[:2] for report in reports] == [["24", "24"], ["26", "26"]]
    expected, needed = undisturbed
    assert contents(processes.folder) == expected
    assert steps_begun(processes.log) == needed


def test_processes_are_killed_among_others(undisturbed, tmp_path):
    """Two of three are killed again and again; the rest and their successors finish every run once."""
    rng, processes = random.Random(7), Processes(tmp_path)
    lasting, kills = processes.start("all"), 0
    while lasting.poll() is None and kills < 8:
        victims = [processes.start(part) for part in ("first", "last")]
        time.sleep(rng.uniform(0.25, 0.6))
        for victim in victims:
            victim.kill()
            victim.communicate()
            kills += victim.returncode == -signal.SIGKILL
    ended(lasting)
    ended(processes.start("first"))
    ended(processes.start("last"))
    expected, needed = undisturbed
    assert contents(processes.folder) == expected
    begun = steps_begun(processes.log)
    assert begun.keys() == needed.keys()
    # A kill loses the block under way. It costs a cohort more only where lists are cut differently and the
    # cohort of the dead cannot go on as a whole: then its runs start again.
    assert kills >= 2
    assert sum(begun.values()) <= sum(needed.values()) + kills * 4 * 3


def test_a_dead_process_is_taken_over_from_its_last_block(undisturbed, tmp_path):
    """And one that is stopped is not: it holds its lock, however long it does nothing."""
    processes = Processes(tmp_path)
    slow = processes.start(pause=0.5)
    processes.wait_for(2)  # the first block of the first cohort is committed, the second begun
    slow.send_signal(signal.SIGSTOP)
    quick = processes.start(pause=0.0)
    processes.wait_for(2 + 8 * 3)  # all other cohorts have begun their last blocks
    time.sleep(0.5)
    assert quick.poll() is None
    slow.kill()
    slow.communicate()
    lines = ended(quick)
    expected, needed = undisturbed
    assert contents(processes.folder) == expected
    extra = steps_begun(processes.log) - needed
    assert len(extra) <= 4  # the block that was under way in the first cohort, again
    assert all(step > 0 for _, step in extra)
    assert int(lines[-1].split()[1]) == 36


# ---------------------------------------------------------------- in one process, step by step


@pytest.fixture
def pair(tmp_path):
    """Two connections to one store with 12 toy runs in 3 cohorts; the second trains beside the sweep."""
    specs = [toy_spec(seed=seed) for seed in range(12)]
    with Store.open(tmp_path / "r", study="toy") as one, Store.open(tmp_path / "r", study="toy") as other:
        one.add(specs)
        yield one, other, specs


def sweep(store, specs, trainer=None, **options):
    return run_sweep(
        store,
        specs,
        trainer=trainer or ToyTrainer(),
        static_key=toy_static_key,
        cohort_size=toy_cohort_size,
        **options,
    )


def test_runs_that_fail_elsewhere_are_reported_and_not_tried(pair):
    store, other, specs = pair
    ids = [spec.id for spec in specs]
    given = []
    with other.training():
        other.claim(ids[4:8])

        def progress(report):
            if report.runs_done == 8 and other.claimed() == frozenset():
                other.fail(ids[4:8], "ValueError: elsewhere")

        def trainer(specs, *, state=None):
            given.extend(spec.id for spec in specs)
            yield from ToyTrainer()(specs, state=state)

        with pytest.raises(SweepError, match="4 of 12 runs failed: 4 x ValueError: elsewhere"):
            sweep(store, specs, trainer, progress=progress)
    assert given == ids[:4] + ids[8:]
    assert sweep(store, specs).trained == 4


def test_a_waiting_process_reports_what_others_do_and_takes_over(pair):
    store, other, specs = pair
    ids = [spec.id for spec in specs]
    blocks = ToyTrainer()(specs[:4])
    reports, resumed = [], []
    seat = other.training()
    seat.__enter__()
    other.claim(ids[:4])

    def progress(report):
        reports.append(report)
        if report.runs_done == 8 and report.steps_done == 48:
            other.commit(ids[:4], next(blocks))
        elif report.steps_done == 48 + 8 and other._seat is not None:
            seat.__exit__(None, None, None)

    def trainer(specs, *, state=None):
        resumed.append(([spec.id for spec in specs], state is not None))
        yield from ToyTrainer()(specs, state=state)

    assert sweep(store, specs, trainer, progress=progress).trained == 12
    assert resumed == [(ids[4:8], False), (ids[8:], False), (ids[:4], True)]
    waiting = [(report.steps_done, report.processes) for report in reports if report.runs_done == 8]
    assert (48 + 8, 2) in waiting
    assert (reports[-1].runs_done, reports[-1].cohorts_done, reports[-1].steps_done) == (12, 3, 72)
    assert set(store.statuses().values()) == {Status.DONE}


def test_a_job_is_claimed_when_it_is_asked_for(pair):
    store, other, specs = pair
    seen = []

    def trainer(specs, *, state=None):
        seen.append(len(other.claimed()))
        yield from ToyTrainer()(specs, state=state)

    sweep(store, specs, trainer)
    assert seen == [4, 4, 4]
