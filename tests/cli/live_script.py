"""A toy sweep under the live view, as a process of its own. Arguments: folder, pause of each block, seeds."""

import sys
from pathlib import Path

from clifftop.cli.live import live_view
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_spec, toy_static_key


def main(folder: Path, pause: float, seeds: int) -> None:
    specs = [toy_spec(seed=seed, noise_multiplier=sigma) for sigma in (1.0, 100.0) for seed in range(seeds)]
    with live_view(folder, "accuracy") as show, Store.open(folder, study="toy") as store:
        run_sweep(
            store,
            specs,
            trainer=ToyTrainer(pause=pause),
            static_key=toy_static_key,
            cohort_size=lambda spec: 2,
            progress=show,
        )
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
