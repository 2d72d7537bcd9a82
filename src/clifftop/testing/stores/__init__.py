"""Checks that every store of runs must pass, and a toy study to try stores, executors and sweeps with.

A test of a store parametrises over `STORE_CHECKS` and calls each with a function that opens the same, at
first empty, store again and again::

    @pytest.mark.parametrize("check", STORE_CHECKS)
    def test_store(check, tmp_path):
        check(lambda: Store.open(tmp_path, study="toy"))
"""

from collections.abc import Callable

from clifftop.testing.stores.blocks import (
    check_added_once,
    check_blocks_kept,
    check_divergence_is_a_result,
    check_early_divergence,
    check_failure_forgets_whole_cohorts,
    check_refused_block_leaves_nothing,
    check_rows_of_ended_runs_ignored,
)
from clifftop.testing.stores.judging import OpenStore
from clifftop.testing.stores.keeping import (
    check_artifacts,
    check_cohort_size_is_decided_once,
    check_settings,
    check_timeline,
)
from clifftop.testing.stores.sharing import (
    check_claims_have_one_owner,
    check_cohorts_go_on_whole,
    check_the_dead_own_nothing,
)
from clifftop.testing.stores.toys import (
    ToyBlock,
    ToyClipping,
    ToyNoise,
    ToyPlan,
    ToyStreams,
    ToyTrainer,
    toy_cohort_size,
    toy_spec,
    toy_static_key,
)

STORE_CHECKS: tuple[Callable[[OpenStore], None], ...] = (
    check_added_once,
    check_blocks_kept,
    check_divergence_is_a_result,
    check_early_divergence,
    check_rows_of_ended_runs_ignored,
    check_refused_block_leaves_nothing,
    check_failure_forgets_whole_cohorts,
    check_claims_have_one_owner,
    check_cohorts_go_on_whole,
    check_the_dead_own_nothing,
    check_settings,
    check_artifacts,
    check_cohort_size_is_decided_once,
    check_timeline,
)
"""Each takes a function that opens the same store, empty before its first call."""

__all__ = [
    "STORE_CHECKS",
    "OpenStore",
    "ToyBlock",
    "ToyClipping",
    "ToyNoise",
    "ToyPlan",
    "ToyStreams",
    "ToyTrainer",
    "toy_cohort_size",
    "toy_spec",
    "toy_static_key",
]

for _toy in (ToyBlock, ToyClipping, ToyNoise, ToyPlan, ToyStreams, ToyTrainer):
    _toy.__module__ = __name__  # stored files and pickles name a class by where it is public
