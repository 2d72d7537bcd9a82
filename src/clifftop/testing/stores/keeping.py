"""Checks of what is kept beside the numbers: settings, artifacts, sizes, the timeline."""

from __future__ import annotations

import math
from dataclasses import replace

from clifftop.lab.contract import RunSetting
from clifftop.testing.stores.judging import OpenStore, must, refused
from clifftop.testing.stores.toys import toy_spec


def check_settings(open_store: OpenStore) -> None:
    """What a sweep says about runs is kept, replaced by a later word, and refused for unknown runs."""
    specs = [toy_spec(seed=seed) for seed in range(2)]
    point = {"noise_multiplier": 0.5, "clip_norm": math.inf, "clipping": "flat", "seed": 3, "x": None}
    first, second = (
        RunSetting(
            run_id=spec.id,
            point=point,
            delta=1e-5,
            epsilon_lower=1.0 + seed,
            epsilon_upper=math.inf if seed else 1.5,
            neighboring_relation="add-remove",
        )
        for seed, spec in enumerate(specs)
    )
    with open_store() as store:
        store.add(specs)
        store.describe([second, first])
        refused(lambda: store.describe([replace(first, delta=0.5), replace(second, run_id="0" * 16)]))
    with open_store() as store:
        kept = list(store.settings().items())
        must(kept == [(first.run_id, first), (second.run_id, second)], "settings must be kept, whole")
        store.describe([replace(first, point={})])
        must(store.settings()[first.run_id].point == {}, "a later word must replace the earlier one")
        must(store.settings()[second.run_id] == second, "and no other")


def check_artifacts(open_store: OpenStore) -> None:
    """Named bytes are kept exactly; a second write under one name replaces the first."""
    with open_store() as store:
        must(store.artifact("sweep.json") is None, "an artifact that is not there must be None")
        store.put_artifact("sweep.json", b"{}")
        store.put_artifact("sweep.json", b"\x00two")
        store.put_artifact("cost.json", b"")
    with open_store() as store:
        must(store.artifact("sweep.json") == b"\x00two", "the last bytes must be kept")
        must(store.artifact("cost.json") == b"", "empty bytes must be kept")


def check_cohort_size_is_decided_once(open_store: OpenStore) -> None:
    """The first size that is measured for a key stays."""
    with open_store() as store:
        must(store.cohort_size("a", lambda: 7) == 7, "the first size must be what was measured")
    with open_store() as store:
        must(store.cohort_size("a", lambda: 9) == 7, "a size must stay")
        must(store.cohort_size("b", lambda: 9) == 9, "each key must have its own size")


def check_timeline(open_store: OpenStore) -> None:
    """Events are kept in order with their details."""
    with open_store() as store:
        store.record("started", runs=3)
        store.record("ended", seconds=1.5, why="done")
    with open_store() as store:
        rows = store.query("SELECT kind, detail FROM event ORDER BY key")
        must(
            rows == [("started", '{"runs": 3}'), ("ended", '{"seconds": 1.5, "why": "done"}')],
            "events must be kept",
        )
