"""Sweeps: what trains together, what a restart leaves out, and what becomes of failures."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from clifftop.lab.contract import Status, StoreError
from clifftop.lab.executors import InProcess
from clifftop.lab.runner import SweepError, cut, run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "results", study="toy") as opened:
        yield opened


def sweep(store, specs, trainer=None, **options):
    chosen = {"static_key": toy_static_key, "cohort_size": toy_cohort_size} | options
    return run_sweep(store, specs, trainer=trainer or ToyTrainer(), **chosen)


def cohorts(specs):
    return cut(specs, static_key=toy_static_key, cohort_size=lambda key, spec: toy_cohort_size(spec))


def numbers(store):
    return store.query(
        "SELECT id, status, run.step, name, metric.step, value FROM run LEFT JOIN metric ON run = key "
        "ORDER BY 1, 4, 5"
    )


class Recorder:
    """A trainer that remembers which runs it was given, and can stop the sweep."""

    def __init__(self, *, stop_after=None, fail=None, **options):
        self.trained, self.left, self.fail, self.inner = [], stop_after, fail, ToyTrainer(**options)

    def __call__(self, specs, *, state=None):
        self.trained.append((tuple(spec.seed for spec in specs), state is not None))
        for block in self.inner(specs, state=state):
            if self.left == 0:
                raise KeyboardInterrupt
            if self.left is not None:
                self.left -= 1
            if self.fail is not None and self.fail(specs):
                raise ValueError("the toy\nbroke")
            yield block


def test_a_sweep_trains_every_run_once_and_reports(store):
    specs = [toy_spec(seed=seed, noise_multiplier=100.0 if seed == 2 else 1.0) for seed in range(6)]
    seen = []
    result = sweep(store, [*specs, specs[0]], progress=seen.append)
    assert (result.runs, result.trained, result.diverged, result.failures) == (6, 6, 1, ())
    assert list(store.statuses().values()) == [Status.DIVERGED if n == 2 else Status.DONE for n in range(6)]
    assert [(p.runs_done, p.steps_done, p.cohort_runs, p.cohort_step) for p in seen] == [
        (0, 6, 3, 2), (0, 12, 3, 4), (3, 18, 3, 6), (3, 24, 3, 2), (3, 30, 3, 4), (6, 36, 3, 6)
    ]  # fmt: skip
    assert {(p.runs_total, p.steps_total) for p in seen} == {(6, 36)}
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(seen))
    assert 0 < result.training_seconds <= result.seconds


def test_the_timeline_is_kept(store):
    sweep(store, [toy_spec(steps=2)])
    rows = [
        (kind, json.loads(detail))
        for kind, detail in store.query("SELECT kind, detail FROM event ORDER BY key")
    ]
    assert [kind for kind, _ in rows] == ["sweep_started", "block", "sweep_ended"]
    assert rows[0][1] == {"runs": 1, "new": 1, "cohorts": 1}
    assert rows[1][1]["step"] == 2
    assert rows[1][1]["seconds"] >= 0
    assert rows[2][1]["trained"] == 1
    assert rows[2][1]["training_seconds"] <= rows[2][1]["seconds"]


def test_a_second_sweep_trains_nothing(store):
    specs = [toy_spec(seed=seed) for seed in range(5)]
    sweep(store, specs)
    before, idle = numbers(store), Recorder()
    result = sweep(store, specs, idle)
    assert idle.trained == []
    assert result.trained == 0
    assert numbers(store) == before


def test_a_sweep_can_be_extended_and_other_runs_are_left_alone(store):
    sweep(store, [toy_spec(seed=seed) for seed in range(3)])
    recorder = Recorder()
    sweep(store, [toy_spec(seed=seed) for seed in range(2, 6)], recorder)
    assert recorder.trained == [((3, 4, 5), False)]
    assert len(store.statuses()) == 6


def test_a_run_in_a_cohort_equals_the_same_run_alone(store, tmp_path):
    specs = [toy_spec(seed=seed) for seed in range(5)]
    sweep(store, specs)
    with Store.open(tmp_path / "alone", study="toy") as alone:
        sweep(alone, specs, cohort_size=lambda spec: 1)
        assert numbers(alone) == numbers(store)


def test_cohorts_follow_from_the_list_alone(store):
    short, long = [toy_spec(seed=s) for s in range(10)], [toy_spec(seed=s, steps=12) for s in range(3)]
    specs = [spec for pair in zip(short[:3], long, strict=True) for spec in pair] + short[3:]
    store.add(specs)
    whole = [tuple(short[:3]), tuple(short[3:6]), tuple(short[6:]), tuple(long[:1]), tuple(long[1:])]
    assert cohorts(specs) == whole
    recorder = Recorder(stop_after=4)  # one cohort is finished, the next has one block
    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, recorder)
    rest = Recorder()
    sweep(store, specs, rest)
    assert rest.trained == [
        (tuple(spec.seed for spec in cohort), n == 0) for n, cohort in enumerate(whole[1:])
    ]


def test_each_group_is_cut_into_equal_parts_for_the_workers():
    specs = [toy_spec(seed=seed) for seed in range(10)]

    def sizes(size, workers):
        made = cut(specs, static_key=toy_static_key, cohort_size=lambda *_: size, workers=workers)
        assert [spec for cohort in made for spec in cohort] == specs
        return [len(cohort) for cohort in made]

    assert sizes(256, 1) == [10]
    assert sizes(256, 2) == [5, 5]
    assert sizes(256, 3) == [3, 3, 4]
    assert sizes(4, 2) == [2, 3, 2, 3]
    assert sizes(4, 100) == sizes(1, 1) == [1] * 10


def test_another_number_of_workers_goes_on_with_the_cohorts_under_way(store, tmp_path):
    specs = [toy_spec(seed=seed) for seed in range(8)]
    with Store.open(tmp_path / "whole", study="toy") as whole:
        sweep(whole, specs)
        expected = numbers(whole)

    class Three:
        most_workers = 3

        def run(self, trainer, jobs):
            return InProcess().run(trainer, jobs)

    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, Recorder(stop_after=1))
    rest = Recorder()
    sweep(store, specs, rest, executor=Three())
    assert rest.trained[0] == ((0, 1, 2, 3), True)
    assert sorted(seed for seeds, _ in rest.trained for seed in seeds) == list(range(8))
    assert numbers(store) == expected


def test_an_interrupted_sweep_goes_on_from_the_last_block_with_the_same_numbers(store, tmp_path):
    specs = [toy_spec(seed=seed, steps=9) for seed in range(6)]
    with Store.open(tmp_path / "whole", study="toy") as whole:
        sweep(whole, specs)
        expected = numbers(whole)
    blocks = 10
    for stop in range(1, blocks):
        with Store.open(tmp_path / str(stop), study="toy") as cut:
            with pytest.raises(KeyboardInterrupt):
                sweep(cut, specs, Recorder(stop_after=stop))
            rest = Recorder()
            sweep(cut, specs, rest)
            assert numbers(cut) == expected
            assert rest.trained[0] == (((0, 1, 2), True) if stop < 5 else ((3, 4, 5), stop > 5))


def test_a_cohort_under_way_of_which_some_runs_are_asked_starts_again(store):
    specs = [toy_spec(seed=seed) for seed in range(4)]
    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, Recorder(stop_after=1))
    recorder = Recorder()
    sweep(store, specs[1:3], recorder)
    assert recorder.trained == [((1, 2), False)]
    assert list(store.statuses().values()) == [Status.PENDING, Status.DONE, Status.DONE, Status.PENDING]
    assert store.query("SELECT count(DISTINCT run) FROM metric") == [(2,)]


def test_a_cohort_under_way_of_which_no_run_is_asked_is_left(store):
    specs = [toy_spec(seed=seed) for seed in range(6)]
    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, Recorder(stop_after=1))
    held = store.checkpoints()
    sweep(store, specs[4:])
    assert store.checkpoints() == held != []


def test_failed_runs_do_not_stop_the_others_and_are_tried_again(store):
    specs = [toy_spec(seed=seed) for seed in range(12)]
    broken = Recorder(fail=lambda specs: specs[0].seed in (0, 8))
    with pytest.raises(SweepError) as caught:
        sweep(store, specs, broken)
    line = "8 of 12 runs failed: 8 x ValueError: the toy broke; run the same command to try them again"
    assert str(caught.value) == line
    result = caught.value.result
    assert result.trained == 4
    assert [len(failure.run_ids) for failure in result.failures] == [4, 4]
    assert list(store.statuses().values()) == [Status.FAILED] * 4 + [Status.DONE] * 4 + [Status.FAILED] * 4
    assert store.query("SELECT DISTINCT error FROM run WHERE status = 'failed'") == [
        ("ValueError: the toy broke",)
    ]
    (details,), *_ = store.query("SELECT detail FROM event WHERE kind = 'cohort_failed'")
    assert "Traceback" in json.loads(details)["details"]
    again = Recorder()
    sweep(store, specs, again)
    assert again.trained == [((0, 1, 2, 3), False), ((8, 9, 10, 11), False)]
    assert set(store.statuses().values()) == {Status.DONE}


def test_a_failure_after_some_blocks_leaves_no_numbers(store):
    late = ToyTrainer(fault=lambda specs, step: 1 / 0 if step == 4 else None)
    with pytest.raises(SweepError, match="ZeroDivisionError: division by zero"):
        sweep(store, [toy_spec()], late)
    assert store.query("SELECT count(*) FROM metric") == [(0,)]
    assert store.checkpoints() == []


def test_many_reasons_are_summed_up(store):
    def fault(specs, step):
        raise ValueError(f"reason {specs[0].seed // 4}")

    with pytest.raises(
        SweepError, match=r"20 of 20 runs failed: 4 x .*reason 0; .*; and 2 other errors; run"
    ):
        sweep(store, [toy_spec(seed=seed) for seed in range(20)], ToyTrainer(fault=fault))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 0}, "found step=0"),
        ({"step": 7}, "found step=7"),
        ({"state": b""}, "found finished=True"),
        ({"finished": False}, "found finished=False"),
        ({"diverged": np.array([False])}, r"diverged must be \(R,\) with R=2"),
        ({"trained": np.array([True])}, r"trained must be \(R,\) with R=2"),
        (
            {"metrics": {"loss": (np.arange(3), np.zeros((2, 2)))}},
            r"metric loss must be \(2, 3\), found \(2, 2\)",
        ),
        ({"trace": {"loss": np.zeros((2, 5))}}, r"trace loss must .* \(2, 6\), found \(2, 5\)"),
        (None, "must end with a finished block"),
    ],
)
def test_a_trainer_that_breaks_the_contract_fails_its_runs(changes, message, store):
    def trainer(specs, *, state=None):
        for block in ToyTrainer(block_steps=6)(specs):
            if changes is not None:
                yield dataclasses.replace(block, **changes)

    with pytest.raises(SweepError, match=message):
        sweep(store, [toy_spec(seed=1), toy_spec(seed=2)], trainer)
    assert set(store.statuses().values()) == {Status.FAILED}


def test_a_block_that_does_not_say_who_took_part_is_refused_clearly(store):
    class OldBlock:
        step, finished, state, metrics, trace = 6, True, None, {}, {}
        diverged = np.array([False])

    def trainer(specs, *, state=None):
        yield OldBlock()

    with pytest.raises(
        SweepError, match=r"which runs took part in it, found .*OldBlock without trained; give it"
    ):
        sweep(store, [toy_spec()], trainer)


def test_a_run_that_diverges_is_finished_at_once_and_the_rest_goes_on(store, tmp_path):
    specs = [toy_spec(seed=seed, noise_multiplier=1000.0 if seed == 1 else 1.0) for seed in range(4)]
    with Store.open(tmp_path / "whole", study="toy") as whole:
        sweep(whole, specs)
        expected = numbers(whole)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, Recorder(stop_after=1), progress=seen.append)
    assert (seen[-1].runs_done, seen[-1].steps_done, seen[-1].cohorts_done) == (1, 6 + 3 * 2, 0)
    running = [Status.RUNNING, Status.DIVERGED, Status.RUNNING, Status.RUNNING]
    assert list(store.statuses().values()) == running
    rest = Recorder()
    assert sweep(store, specs, rest, progress=seen.append).trained == 3
    assert rest.trained == [((0, 1, 2, 3), True)]
    assert numbers(store) == expected
    assert store.query("SELECT step FROM run ORDER BY key") == [(6,), (2,), (6,), (6,)]
    assert (seen[-1].runs_done, seen[-1].steps_done, seen[-1].cohorts_done) == (4, 24, 1)


def test_a_cohort_of_which_only_diverged_runs_are_asked_is_left(store):
    specs = [toy_spec(seed=seed, noise_multiplier=1000.0 if seed == 1 else 1.0) for seed in range(4)]
    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, Recorder(stop_after=1))
    held, idle = store.checkpoints(), Recorder()
    assert sweep(store, specs[1:2], idle).trained == 0
    assert idle.trained == []
    assert store.checkpoints() == held
    recorder = Recorder()
    sweep(store, specs[2:], recorder)  # part of the cohort: it starts again, but for the run that ended
    assert recorder.trained == [((2, 3), False)]
    assert list(store.statuses().values()) == [Status.PENDING, Status.DIVERGED, Status.DONE, Status.DONE]


def test_the_size_of_cohorts_is_measured_once(store, monkeypatch):
    sizes = iter((3, 5))
    monkeypatch.setattr("clifftop.lab.cohort.cohort_size", lambda spec, **_: next(sizes))
    specs = [toy_spec(seed=seed) for seed in range(9)]
    first, second, passed = Recorder(stop_after=4), Recorder(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        sweep(store, specs, first, cohort_size=None)
    assert sweep(store, specs, second, cohort_size=None).trained == 6
    assert second.trained == [((3, 4, 5), True), ((6, 7, 8), False)]
    sweep(store, [toy_spec(seed=seed) for seed in range(20, 25)], passed, cohort_size=lambda spec: 4)
    assert passed.trained == [((20, 21), False), ((22, 23, 24), False)]
    assert next(sizes) == 5  # asked for once


def test_a_cohort_that_ends_early_counts_in_full(store):
    def trainer(specs, *, state=None):
        first = next(iter(ToyTrainer()(specs)))
        yield dataclasses.replace(first, state=None, finished=True, diverged=np.array([True]))

    seen = []
    assert sweep(store, [toy_spec()], trainer, progress=seen.append).diverged == 1
    assert (seen[-1].steps_done, seen[-1].steps_total) == (6, 6)


def test_a_full_disk_stops_the_sweep_which_can_be_resumed(store, tmp_path):
    specs = [toy_spec(seed=seed, steps=3000) for seed in range(8)]
    with Store.open(tmp_path / "whole", study="toy") as whole:
        sweep(whole, specs, ToyTrainer(block_steps=500))
        expected = numbers(whole)
    seen = []

    def squeeze(progress):
        seen.append(progress)
        if len(seen) == 4:
            (pages,) = store.query("PRAGMA page_count")[0]
            store.query(f"PRAGMA max_page_count = {pages + 3}")

    with pytest.raises(StoreError, match="the disk is full"):
        sweep(store, specs, ToyTrainer(block_steps=500), progress=squeeze)
    store.query("PRAGMA max_page_count = 1000000")
    assert len(store.checkpoints()) > 0
    sweep(store, specs, ToyTrainer(block_steps=500))
    assert numbers(store) == expected
    store.check()


def test_a_cohort_size_below_one_is_refused(store):
    with pytest.raises(ValueError, match="cohort_size=0"):
        sweep(store, [toy_spec()], cohort_size=lambda spec: 0)


def test_nothing_that_a_store_names_is_imported(store, tmp_path, monkeypatch):
    (tmp_path / "named_by_store.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = toy_spec(seed=7)
    evil = dataclasses.replace(spec, model=dataclasses.replace(spec.model, target="named_by_store:run"))
    store.add([evil])
    sweep(store, [toy_spec()], executor=InProcess())
    assert store.statuses()[evil.id] is Status.PENDING
    assert store.specs()[evil.id] == evil
