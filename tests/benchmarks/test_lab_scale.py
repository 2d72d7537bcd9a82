"""The parts of ``benchmarks/lab_scale.py`` that decide what is printed, on one run."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clifftop.lab import train_cohort

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("lab_scale")


def test_runs_are_distinct_and_the_sample_is_of_them(benchmark):
    listed = benchmark.runs(300)
    assert len({spec.id for spec in benchmark.specs(listed)}) == 300
    sample = benchmark.sample(300, 20)
    assert set(sample) <= set(listed)
    assert sample == benchmark.sample(300, 20)
    assert len(set(sample)) == 20


def test_one_by_one_is_the_same_run(benchmark):
    (spec,) = benchmark.specs([(37, 1)])
    *_, block = train_cohort([spec])
    before = torch.get_rng_state()
    alone = benchmark.by_trainer(37, 1)
    torch.set_rng_state(before)
    assert alone["accuracy"] == pytest.approx(block.metrics["accuracy"][1][0, -1], abs=1e-6)
    assert block.step == benchmark.STEPS
    assert alone["cpu_seconds"] > 0


def test_differences_are_taken_run_by_run(benchmark):
    ours = [0.5] * 150 + [0.9] * 50
    found = [{"accuracy": 0.7, "cpu_seconds": cpu} for cpu in (1.0, 3.0, 2.0)]
    figures = benchmark.compared(ours, found, [(0, 0), (49, 1), (50, 1)])
    assert figures["largest_difference"] == 0.2
    assert figures["accuracy_difference"] == pytest.approx((0.2 + 0.2 - 0.2) / 3, abs=1e-5)
    assert figures["cpu_seconds_a_run"] == {"min": 1.0, "median": 2.0, "max": 3.0}


def test_a_missed_target_is_told(benchmark):
    assert benchmark.told("seconds", 179.0, 180.0) == "seconds: 179, at most 180: met"
    assert benchmark.told("seconds", 181.0, 180.0).endswith("MISSED")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_memory_is_that_of_a_whole_family(benchmark):
    hold = "import sys; x = bytearray(50 << 20); print(flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {hold!r}]).returncode)"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        family = benchmark.tree(process.pid)
        held = sum(map(benchmark.resident, family))
        process.stdin.close()
    assert len(family) == 2
    assert held > 50 << 20
    assert benchmark.resident(process.pid) == 0
    assert os.getpid() in benchmark.tree(os.getpid())
