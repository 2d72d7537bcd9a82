"""A toy sweep that several processes train into one store, for tests that start and kill them.

Usage: python sharing_script.py FOLDER LOG all|first|last PAUSE
"""

import sys
from pathlib import Path

from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key


def study(part="all"):
    """36 runs in 9 cohorts; the first and last two thirds overlap, and are cut differently."""
    sigmas = {5: 100.0, 17: 1000.0}
    specs = [toy_spec(seed=seed, noise_multiplier=sigmas.get(seed, 1.0)) for seed in range(36)]
    return {"all": specs, "first": specs[:24], "last": specs[10:]}[part]


def sweep(folder, log, part="all", pause=0.0, progress=None):
    """Train a part of the study."""
    with Store.open(folder, study="toy") as store:
        return run_sweep(
            store,
            study(part),
            trainer=ToyTrainer(log=log, pause=pause),
            static_key=toy_static_key,
            cohort_size=toy_cohort_size,
            progress=progress,
        )


def main():
    folder, log, part, pause = sys.argv[1:]
    result = sweep(
        folder,
        Path(log),
        part,
        float(pause),
        lambda p: print(p.runs_done, p.runs_total, p.cohorts_done, p.cohorts_total, p.processes, flush=True),
    )
    print("trained", result.trained)


if __name__ == "__main__":
    main()
