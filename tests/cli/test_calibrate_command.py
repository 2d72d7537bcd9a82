"""`clifftop calibrate` finds the least noise that meets a target, and never less."""

import json
import subprocess
import sys

import pytest

POISSON = ["--target-epsilon", "3", "--sampling-prob", "0.16", "--steps", "140", "--delta", "1e-5"]
FIXED = ["--target-epsilon", "8", "--fixed-order", "20", "--delta", "1e-5"]


def test_the_noise_found_meets_the_target_and_barely(run):
    document = json.loads(run("calibrate", *POISSON, "--json").out)
    # Two public accountants put the exact value at 2.826070.
    assert document["noise_multiplier"] == pytest.approx(2.826070, rel=1e-5)
    assert 3 * (1 - 1e-4) < document["epsilon"]["upper"] <= 3


def test_epsilon_gives_the_target_back(run):
    sigma = json.loads(run("calibrate", *FIXED, "--json").out)["noise_multiplier"]
    document = json.loads(run("epsilon", "--noise-multiplier", repr(sigma), *FIXED[2:], "--json").out)
    assert 7.999 < document["upper"] <= 8


def test_a_person_reads_the_noise_and_what_it_costs(run):
    noise, cost = run("calibrate", *FIXED).out.splitlines()
    assert noise.startswith("noise multiplier 2.68")
    assert "(zero_out)" in noise
    assert cost.startswith("true epsilon between 7.99")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-epsilon", "-1", *POISSON[2:]], "target_epsilon must be a finite number > 0"),
        (["--target-epsilon", "1e-9", *POISSON[2:6], "--delta", "1e-12"], "target_epsilon must be reachable"),
        (POISSON[:4] + POISSON[6:], "say how the batches were made"),
        ([*POISSON[:6], "--delta", "2"], "delta must be a number in"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    ran = run("calibrate", *arguments)
    assert ran.code == 2
    assert message in ran.complaint


def test_it_needs_no_torch():
    code = (
        "import sys; from clifftop.cli.entry import main; "
        f"assert main({['calibrate', *FIXED]!r}) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
