"""Ten scripts in the style of Opacus' documentation, each run as a process with its import lines changed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from clifftop.migrate import examine, rewrite

HERE = Path(__file__).parent
SCRIPTS = sorted((HERE / "scripts").glob("*_script.py"))
# Steps of the last segment of each one's history, counted by hand.
STEPS = {
    "char_lstm_script": 12,
    "checkpoint_script": 20,
    "cifar_groupnorm_script": 10,
    "epsilon_mlp_script": 30,
    "fashion_cnn_script": 32,
    "lora_script": 10,
    "memory_manager_script": 8,
    "resnet_fix_script": 4,
    "text_embedding_script": 2,  # a fixed order: one release an epoch
    "transformer_script": 8,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for script in SCRIPTS:
        (folder / script.name).write_text(rewrite(script.read_text()).source)
    command = [sys.executable, HERE / "run_loop_script.py", *(folder / script.name for script in SCRIPTS)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    documents = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert len(documents) == len(SCRIPTS), ran.stderr
    return {Path(d["script"]).stem: (d, ran) for d in documents}


def test_there_are_ten():
    assert len(SCRIPTS) == 10
    assert {script.stem for script in SCRIPTS} == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_script_runs_with_its_imports_changed(results, name):
    found, ran = results[name]
    assert "failed" not in found, ran.stderr
    assert found["packages"] == ["clifftop"]
    assert 0.1 < found["epsilon"] < 20
    assert found["losses"]
    assert all(map(math.isfinite, found["losses"]))
    assert min(found["updates"].values()) > 0
    assert not [n for n in found["names"] if "_module" in n]
    assert found["steps"] == STEPS[name]


def test_what_was_frozen_stays(results):
    assert len(results["lora_script"][0]["frozen"]) == 8
    assert len(results["lora_script"][0]["updates"]) == 4


def test_a_target_is_met_and_not_missed_by_much(results):
    assert 1.999 < results["epsilon_mlp_script"][0]["epsilon"] <= 2.0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_only_imports_were_changed(script):
    old, new = script.read_text().splitlines(), rewrite(script.read_text()).source.splitlines()
    assert len(old) == len(new)
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert changed
    for a, b in changed:
        assert a.startswith("from opacus")
        assert b == a.replace("from opacus", "from clifftop.compat.opacus")
    assert not [finding for finding in examine(script.read_text()) if finding.blocks]
