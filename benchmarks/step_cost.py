"""What a private training step costs: Clifftop's engines beside plain PyTorch, Opacus and opake.

Every engine runs in a process of its own, of the interpreter named by ``--rivals-python PATH`` or
``CLIFFTOP_RIVALS_PYTHON`` (``benchmarks/requirements-step-cost.txt`` says how to make one), so that all
share one torch. The parent asks for slices of steps in turn, in an order that is reversed every round; a
ratio is the median over rounds of engine over plain within one round. On one thread process CPU time
counts, on more wall time. All private engines clip at 1, add noise of multiplier 1 to every coordinate
and take an SGD step on the same batch. Before that each takes two steps without noise, which must agree
with per-example gradients in float64, and its noise must have the standard deviation that was asked for.
An engine that fails or disagrees is printed as such, never left out. Exits with 1 if one of Clifftop's
engines disagrees.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from steps.measure import DISAGREES, Options, measure, say, write_reference
from steps.registry import ENGINES, MISSING, OURS
from steps.tables import show, show_phases, targets
from steps.tasks import TASKS

QUICK_MODELS = ["tiny", "mlp"]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals-python", default=os.environ.get("CLIFFTOP_RIVALS_PYTHON", sys.executable))
    parser.add_argument("--models", nargs="+", choices=TASKS, help="default: all")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        default=list(ENGINES),
        metavar="NAME",
        help=", ".join(ENGINES),
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--threads", nargs="+", type=int, default=[1, os.cpu_count() or 1], help="default: 1 and all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the two MLPs, three rounds, one thread, no record"
    )
    parser.add_argument("--out", default="step_cost", help="name of the record in benchmarks/records")
    return parser.parse_args()


def disagreements(name: str, figures: dict[str, Any]) -> list[str]:
    """Which of Clifftop's engines are wrong."""
    return [
        f"{name}: {engine} disagrees with the reference, error={row['error']:.1e}, noise={row['noise']:.4g}"
        for engine, row in figures["engines"].items()
        if engine in OURS and row.get("check") == DISAGREES
    ]


def main() -> int:
    """Measure, print, record."""
    options = parsed()
    how = Options(
        python=options.rivals_python,
        rounds=3 if options.quick else options.rounds,
        slice_seconds=0.1 if options.quick else 0.3,
        phase_rounds=3 if options.quick else 7,
    )
    models = options.models or (QUICK_MODELS if options.quick else list(TASKS))
    counts = [1] if options.quick else list(dict.fromkeys(options.threads))
    document: dict[str, Any] = {"rounds": how.rounds, "missing": MISSING, "threads": {}, "targets": []}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in models:
            reference = Path(folder, f"{name}.pt")
            write_reference(name, how.python, reference)
            for threads in counts:
                figures = measure(name, options.engines, threads, reference, how)
                document["threads"].setdefault(str(threads), {})[name] = figures
                show(name, threads, figures)
                if threads == 1:
                    show_phases(figures)
                    document["targets"] += targets(name, figures)
                faults += disagreements(name, figures)
                sys.stdout.flush()
    print("\ntargets, CPU time on one thread")
    for line in document["targets"]:
        print(f"  {line}")
    for fault in faults:
        say(f"FAULT {fault}")
    if not options.quick:
        from common import record

        record(options.out, document)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
