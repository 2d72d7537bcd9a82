"""Checks of what is written: runs, blocks, divergence, failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clifftop.lab.contract import Checkpoint, Status
from clifftop.testing.stores.judging import OpenStore, expected_numbers, must, numbers, refused, toy
from clifftop.testing.stores.toys import ToyTrainer, toy_spec


def check_added_once(open_store: OpenStore) -> None:
    """A run that is there already is not added again, also not after reopening."""
    specs = [toy_spec(seed=seed) for seed in range(3)]
    with open_store() as store:
        must(store.add(specs[:2]) == 2, "add must return how many runs were new")
    with open_store() as store:
        must(store.add(specs) == 1, "add must leave runs that are there already alone")
        expected = {spec.id: Status.PENDING for spec in specs}
        must(list(store.statuses().items()) == list(expected.items()), "runs must be pending, in order")


def check_blocks_kept(open_store: OpenStore) -> None:
    """A reopened store has every number, and the last block's checkpoint until the cohort has finished."""
    specs = [toy_spec(seed=seed) for seed in range(3)]
    ids = tuple(spec.id for spec in specs)
    blocks = list(ToyTrainer()(specs))
    with open_store() as store:
        store.add(specs)
    for count, block in enumerate(blocks, start=1):
        with open_store() as store:
            store.commit(ids, block)
        with open_store() as store:
            must(
                numbers(store) == expected_numbers(specs, blocks[:count]), "every number must be kept exactly"
            )
            held: list[Checkpoint] = []
            if block.state is not None:
                held.append(Checkpoint(run_ids=ids, step=block.step, state=block.state))
            must(store.checkpoints() == held, "a checkpoint must be the last block's")
            status = Status.DONE if block.finished else Status.RUNNING
            must(set(store.statuses().values()) == {status}, f"runs must be {status}")


def check_divergence_is_a_result(open_store: OpenStore) -> None:
    """A run that diverges at its end keeps its numbers, NaN too, and does not touch its cohort's others."""
    specs = [toy_spec(seed=1), toy_spec(seed=1, noise_multiplier=100.0)]
    blocks = list(ToyTrainer()(specs))
    with open_store() as store:
        store.add(specs)
        for block in blocks:
            store.commit([spec.id for spec in specs], block)
        must(list(store.statuses().values()) == [Status.DONE, Status.DIVERGED], "a run must have diverged")
        must(numbers(store) == expected_numbers(specs, blocks), "a diverged run must keep its numbers")


def check_early_divergence(open_store: OpenStore) -> None:
    """A run that diverges is finished at once: its step stays, and later rows of it are not its own."""
    specs = [toy_spec(seed=1), toy_spec(seed=2, noise_multiplier=1000.0), toy_spec(seed=3)]
    ids = [spec.id for spec in specs]
    blocks = list(ToyTrainer()(specs))
    must(blocks[1].trained.tolist() == [True, False, True], "the toy must diverge early")
    with open_store() as store:
        store.add(specs)
        store.commit(ids, blocks[0])
        running = [Status.RUNNING, Status.DIVERGED, Status.RUNNING]
        must(list(store.statuses().values()) == running, "a run must be diverged at once")
        store.fail(ids, "ValueError: later")
        failed = [Status.FAILED, Status.DIVERGED, Status.FAILED]
        must(list(store.statuses().values()) == failed, "a failure must not touch a finished run")
        must({row[1] for row in numbers(store)} == {ids[1]}, "a failure must keep a finished run's numbers")
        rest = [specs[0], specs[2]]
        for block in ToyTrainer()(rest):
            store.commit([ids[0], ids[2]], block)
        must(
            numbers(store) == expected_numbers(specs, blocks),
            "rows of runs that took no part must be ignored",
        )
        must(store.query("SELECT step FROM run ORDER BY key") == [(6,), (2,), (6,)], "its step must stay")
        ends = [Status.DONE, Status.DIVERGED, Status.DONE]
        must(list(store.statuses().values()) == ends, "the others must be done")


def check_rows_of_ended_runs_ignored(open_store: OpenStore) -> None:
    """In one cohort to its end: what a block says about a run that took no part is not written."""
    specs = [toy_spec(seed=1), toy_spec(seed=2, noise_multiplier=1000.0)]
    ids = [spec.id for spec in specs]
    blocks = [toy(block) for block in ToyTrainer()(specs)]
    with open_store() as store:
        store.add(specs)
        refused(lambda: store.commit(ids, replace(blocks[0], trained=np.array([True, False]))))
        for block in blocks:
            store.commit(ids, block)
        must(
            numbers(store) == expected_numbers(specs, blocks),
            "rows of runs that took no part must be ignored",
        )
        must(store.checkpoints() == [], "a finished cohort must leave no checkpoint")
        before = (numbers(store), store.statuses())
        refused(lambda: store.commit(ids, replace(blocks[-1], metrics={}, trace={})))
        refused(lambda: store.commit(ids[1:], next(iter(ToyTrainer()(specs[1:])))))
        must((numbers(store), store.statuses()) == before, "a finished run must never change")


def check_refused_block_leaves_nothing(open_store: OpenStore) -> None:
    """A block that cannot be written whole is not written at all."""
    specs = [toy_spec(seed=seed) for seed in range(2)]
    ids = [spec.id for spec in specs]
    first, second, third = (toy(block) for block in ToyTrainer()(specs))
    with open_store() as store:
        store.add(specs)
        store.commit(ids, first)
        before = (numbers(store), store.checkpoints(), store.statuses())
        for run_ids, block in (
            (ids, first),  # recorded already
            ([*ids[:1], "0" * 16], second),  # an unknown run
            (ids, replace(second, trace=first.trace, step=2)),  # new metrics, old trace
            (ids, replace(third, metrics={})),  # not the block that comes next
            (ids, replace(first, metrics={}, trace={})),  # not beyond what is there
        ):
            refused(lambda run_ids=run_ids, block=block: store.commit(run_ids, block))
            after = (numbers(store), store.checkpoints(), store.statuses())
            must(after == before, "a refused block must leave the store as it was")
        store.commit(ids, second)
        must(store.checkpoints()[0].step == 4, "a store must go on after it has refused a block")


def check_failure_forgets_whole_cohorts(open_store: OpenStore) -> None:
    """A failure forgets the runs named and the rest of their cohort under way, and nothing else."""
    specs = [toy_spec(seed=seed) for seed in range(6)]
    ids = [spec.id for spec in specs]
    under_way, other = next(iter(ToyTrainer()(specs[:3]))), list(ToyTrainer()(specs[3:]))
    with open_store() as store:
        store.add(specs)
        for block in other:
            store.commit(ids[3:], block)
        kept = numbers(store)
        store.commit(ids[:3], under_way)
        store.fail(ids[:2], "ValueError: because")
        must(numbers(store) == kept and store.checkpoints() == [], "a failure must forget the cohort")
        expected = [Status.FAILED, Status.FAILED, Status.PENDING, *[Status.DONE] * 3]
        must(list(store.statuses().values()) == expected, "only the runs named must be failed")
        errors = store.query("SELECT DISTINCT error FROM run WHERE status = 'failed'")
        must(errors == [("ValueError: because",)], "the error must be kept")
        store.commit(ids[:3], under_way)
        must(
            store.query("SELECT count(*) FROM run WHERE error IS NOT NULL") == [(0,)],
            "a retry must clear errors",
        )
