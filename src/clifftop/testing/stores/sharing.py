"""Checks of who trains what: claims, cohorts that change hands, processes that die."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Sequence

from clifftop.lab.contract import Checkpoint, Claimed, Status
from clifftop.testing.stores.judging import OpenStore, must, numbers, refused
from clifftop.testing.stores.toys import ToyTrainer, toy_spec


def check_claims_have_one_owner(open_store: OpenStore) -> None:
    """A run is claimed once at a time; blocks come from its owner alone; finished runs are never claimed."""
    specs = [toy_spec(seed=seed) for seed in range(5)]
    ids = tuple(spec.id for spec in specs)
    with open_store() as first, open_store() as second:
        first.add(specs)
        refused(lambda: first.claim(ids))  # not training
        with first.training(), second.training():
            must((first.trainers(), second.trainers()) == (2, 2), "two stores are training")
            must(first.claim(ids[:3]) == Claimed(run_ids=ids[:3]), "free runs must be given, in order")
            must(first.claim(ids[:3]) == Claimed(), "a run must not be given twice, also not to its owner")
            must(second.claim(ids[1:]) == Claimed(run_ids=ids[3:]), "claimed runs must be left out")
            must(second.claimed() == frozenset(ids[:3]), "others must be seen to hold what they claimed")
            must(first.claimed() == frozenset(ids[3:]), "others must be seen to hold what they claimed")
            blocks = list(ToyTrainer()(specs[:3]))
            refused(lambda: second.commit(ids[:3], blocks[0]))
            refused(lambda: second.fail(ids[:3], "ValueError: not its own"))
            must(numbers(first) == set(), "a block of another's runs must leave nothing")
            for block in blocks:
                first.commit(ids[:3], block)
            must(second.claimed() == frozenset(), "finished runs are nobody's")
            must(second.claim(ids[:3]) == Claimed(), "finished runs must not be claimed")
            second.fail(ids[3:], "ValueError: because")
            must(first.claim(ids) == Claimed(run_ids=ids[3:]), "failed runs must be free")
            refused(lambda: first.claim(["0" * 16]))
        with first.training():
            must(first.trainers() == 1, "one store is training")
            must(first.claim(ids) == Claimed(run_ids=ids[3:]), "claims must end with training")


def check_cohorts_go_on_whole(open_store: OpenStore) -> None:
    """A cohort that another left goes on from its last block, or is forgotten if only part of it is asked."""
    specs = [toy_spec(seed=seed) for seed in range(5)]
    ids = tuple(spec.id for spec in specs)
    block = next(iter(ToyTrainer()(specs[:4])))
    with open_store() as first, open_store() as second, second.training():
        first.add(specs)
        with first.training():
            first.claim(ids[:4])
            first.commit(ids[:4], block)
            must(second.claim(ids) == Claimed(run_ids=ids[4:]), "a cohort under way must be left alone")
        held = Checkpoint(run_ids=ids[:4], step=block.step, state=block.state or b"")
        with first.training():
            must(first.claim(ids) == Claimed(checkpoints=(held,)), "a cohort must go on as a whole")
            must(second.claimed() == frozenset(ids[:4]), "and be claimed as a whole")
        must(second.claim(ids[1:3]) == Claimed(run_ids=ids[1:3]), "part of a cohort must be given")
        must(numbers(second) == set() and second.checkpoints() == [], "and the cohort be forgotten")
        must(set(second.statuses().values()) == {Status.PENDING}, "its runs must be pending")


def check_the_dead_own_nothing(open_store: OpenStore) -> None:
    """Claims last as long as their process, and no longer, however it ends."""
    specs = [toy_spec(seed=seed) for seed in range(2)]
    ids = tuple(spec.id for spec in specs)
    with open_store() as store:
        store.add(specs)
    child, said, told = _forked(open_store, ids)
    try:
        must(os.read(said, 1) == b"c", "another process must be able to claim")
        with open_store() as store, store.training():
            must(store.trainers() == 2, "a living process must be counted")
            must(store.claim(ids) == Claimed(), "a living process must keep its claims")
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            child = 0
            must(store.claimed() == frozenset(), "a dead process must own nothing")
            must(store.claim(ids) == Claimed(run_ids=ids), "a dead process's runs must be free at once")
            must(store.trainers() == 1, "a dead process must not be counted")
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for end in (said, told):
            os.close(end)


def _forked(open_store: OpenStore, ids: Sequence[str]) -> tuple[int, int, int]:
    """A process that claims runs, says so, and waits until it is killed."""
    said, say = os.pipe()
    listen, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads; the child needs none
        child = os.fork()
    if child == 0:
        try:
            os.close(tell)
            with open_store() as store, store.training():
                store.claim(ids)
                os.write(say, b"c")
                os.read(listen, 1)
        finally:
            os._exit(1)
    os.close(say)
    os.close(listen)
    return child, said, tell
