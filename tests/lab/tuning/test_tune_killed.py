"""A tuning in a process of its own, killed without warning, goes on with the trials that it drew."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from clifftop.codec import from_json
from clifftop.lab.cohort import train_cohort
from clifftop.lab.tuning.secret import NAME
from clifftop.lab.tuning.state import DRAWN, Drawn

SWEEP = """
name = "killed"
[model]
factory = "clifftop.studies.no_cliff.model:mlp"
[data]
factory = "clifftop.datasets:gaussian_clusters"
seed = 1
per_class = 60
num_train = 200
normalise = false
[privacy]
delta = 1e-5
noise_multiplier = 4.0
clip_norm = 1.0
[training]
expected_batch_size = 50
steps = 100
[optimizer]
name = "sgd"
[axes]
lr = [0.05, 0.1, 0.2, 0.4]
"""
PATIENCE = 60.0


def start(file, folder) -> subprocess.Popen:
    command = [sys.executable, "-m", "clifftop", "tune", str(file), "--out", str(folder)]
    command += ["--score-data", "public", "--mean", "6"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)


def wait_for(path, process) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_tuning_goes_on_with_the_same_trials(tmp_path):
    file, folder = tmp_path / "sweep.toml", tmp_path / "out"
    file.write_text(SWEEP)
    secret = folder / NAME
    process = start(file, folder)
    wait_for(secret / DRAWN, process)
    process.kill()
    process.communicate()
    state = (secret / DRAWN).read_bytes()
    assert not (folder / "tuned.json").exists()
    out, err = start(file, folder).communicate()
    assert "the best trial" in out.decode()
    assert not secret.exists()

    drawn = from_json(state.decode(), Drawn)
    last = list(train_cohort([trial.spec for trial in drawn.trials], keep_parameters=True))[-1]
    scores = last.metrics["accuracy"][1][:, -1].tolist()
    best = max(range(len(scores)), key=lambda place: (scores[place], -place))
    document = json.loads((folder / "tuned.json").read_text())
    assert document["winner"]["score"] == pytest.approx(scores[best])
    assert document["winner"]["setting"] == dict(drawn.trials[best].point)
    for name, value in load_file(folder / "tuned.safetensors").items():
        np.testing.assert_allclose(value, last.parameters[name][best], atol=1e-6)

    # Nothing that was printed says how many trials there were, or how the others did.
    told = out.decode() + err.decode()
    others = {f"{score:g}" for score in scores} - {f"{scores[best]:g}"}
    assert not any(f"accuracy {score}" in told for score in others)
    assert "no progress is shown" in err.decode()
