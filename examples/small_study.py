"""A slice of the paper's study from Python: the runs, the page, and the accuracies by configuration."""

import json
import math
import tempfile
from pathlib import Path

from clifftop.report import build_report
from clifftop.studies import Axes, run_study

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    axes = Axes(noise_multipliers=(0.5, 2.0, 10.0), clip_norms=(1.0,), seeds=(1, 2, 3))
    result = run_study("no-cliff", axes=axes, out=folder)
    page = build_report(folder, formats=()).page
    print(f"{result.num_runs} runs, {result.num_trained} trained, page of {page.stat().st_size} bytes")
    for run in json.loads((folder / "results.json").read_text())["dp_runs"]:
        sigma, upper = run["noise_multiplier"], math.ceil(run["epsilon"]["upper"] * 1000) / 1000
        print(f"sigma {sigma}, seed {run['seed']}: accuracy {run['accuracy']:.2f}, epsilon <= {upper:.3f}")
