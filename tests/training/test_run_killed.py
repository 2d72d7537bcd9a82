"""A run killed with SIGKILL at random steps and started again: the same parameters, nothing uncharged."""

import importlib.util
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from clifftop.accounting import Ledger
from clifftop.training.checkpoint import read

SCRIPT = Path(__file__).with_name("killed_run.py")
STEPS = 70


def run(folder: Path, *, until: int | None = None, pause: float = 0.0) -> int:
    """The last step that the run said it took; killed at once after it said ``until``."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(STEPS)], stdout=subprocess.PIPE, text=True
    )
    last = 0
    for line in process.stdout:
        last = int(line)
        if until is not None and last >= until:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().split())])
            break
    process.stdout.close()
    assert process.wait() == (0 if until is None else -signal.SIGKILL)
    return last


def charged(folder: Path) -> dict[str, int]:
    """The last step that each run has charged."""
    found: dict[str, int] = {}
    with Ledger.read(folder / "ledger") as ledger:
        ledger.verify()
        for entry in ledger.entries:
            name, first, last = re.fullmatch(r"training run (\w+): steps (\d+) to (\d+)", entry.note).groups()
            assert int(first) == found.get(name, 0) + 1
            assert entry.event.count == int(last) - int(first) + 1
            found[name] = int(last)
    return found


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_parameters(tmp_path):
    rng = random.Random(4)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    spec = importlib.util.spec_from_file_location("killed_run", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(whole, STEPS)
    stops = sorted(rng.sample(range(4, STEPS - 8), 2))
    for stop in stops:
        last = run(killed, until=stop, pause=rng.uniform(0.0, 0.004))
        assert last >= stop
        (most,) = charged(killed).values()
        assert last <= most
        assert read(killed / "run.pt")["steps_done"] <= last + 1
    assert run(killed) == STEPS
    ours, theirs = (read(folder / "run.pt") for folder in (whole, killed))
    for part in ("module", "optimizer", "scheduler", "steps_done", "seed"):
        assert_same(ours[part], theirs[part])
    # Repeated steps are the same release: each was charged once.
    assert list(charged(killed).values()) == [STEPS] == list(charged(whole).values())


def assert_same(ours, theirs):
    """Equal bit for bit, tensors included."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert_same(value, theirs[key])
    elif isinstance(ours, list | tuple):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    else:
        assert ours == theirs


def test_the_comparison_sees_a_bit():
    """Negative control."""
    nudged = torch.nextafter(torch.ones(2), torch.zeros(2))
    with pytest.raises(AssertionError):
        assert_same({"a": [torch.ones(2)]}, {"a": [nudged]})
