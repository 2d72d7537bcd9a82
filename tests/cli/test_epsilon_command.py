"""`clifftop epsilon` prints sound bounds, quickly, without torch."""

import json
import math
import subprocess
import sys

import pytest

POISSON = ["--noise-multiplier", "1", "--sampling-prob", "0.16", "--steps", "140", "--delta", "1e-5"]
FIXED = ["--noise-multiplier", "1", "--fixed-order", "20", "--delta", "1e-5"]


def test_poisson_as_json(run):
    document = json.loads(run("epsilon", *POISSON, "--json").out)
    assert document["lower"] <= 13.724835 <= document["upper"]
    assert document["estimate"] == pytest.approx(13.7248, rel=5e-3)
    assert document["delta"] == 1e-5
    assert document["neighboring_relation"] == "add_or_remove_one"
    assert "sampling_prob=0.16" in document["event"]


def test_fixed_order_is_exact_and_compares_zeroed_out_examples(run):
    document = json.loads(run("epsilon", *FIXED, "--json").out)
    assert document["estimate"] == pytest.approx(28.3735, rel=1e-5)
    assert document["neighboring_relation"] == "zero_out"


def test_the_relation_can_be_chosen(run):
    zero_out = json.loads(run("epsilon", *FIXED, "--json").out)
    replace = json.loads(run("epsilon", *FIXED, "--neighboring-relation", "replace-one", "--json").out)
    assert replace["lower"] > zero_out["upper"]


def test_a_person_reads_an_upper_bound_that_is_not_rounded_down(run):
    upper = json.loads(run("epsilon", *POISSON, "--json").out)["upper"]
    claim, interval = run("epsilon", *POISSON).out.splitlines()
    assert claim.startswith("epsilon <= ")
    assert upper <= float(claim.split()[2]) <= upper * (1 + 1e-5)
    assert "delta = 1e-05 (add_or_remove_one)" in claim
    assert f"and {upper} (" in interval


def test_no_noise_is_infinite_and_still_json(run):
    document = json.loads(run("epsilon", "--noise-multiplier", "0", *FIXED[2:], "--json").out)
    assert document["upper"] == "inf"
    assert float(document["upper"]) == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--noise-multiplier", "-1", *FIXED[2:]], "noise_multiplier"),
        (["--noise-multiplier", "nan", *FIXED[2:]], "noise_multiplier"),
        ([*POISSON[:6], "--delta", "1"], "delta"),
        ([*POISSON[:6], "--delta", "0"], "delta"),
        (["--noise-multiplier", "1", "--sampling-prob", "1.5", *POISSON[4:]], "sampling_prob"),
        (["--noise-multiplier", "1", "--sampling-prob", "0.1", "--steps", "-3", "--delta", "1e-5"], "count"),
        (POISSON[:4] + POISSON[6:], "say how the batches were made"),
        ([*POISSON, "--fixed-order", "20"], "say how the batches were made"),
        (POISSON[:6], "--delta"),
        ([*FIXED, "--neighboring-relation", "add-or-remove-one"], "FixedOrder"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    assert message in run("epsilon", *arguments).complaint


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_starts_without_torch(extra):
    code = (
        "import sys\n"
        "from clifftop.cli.entry import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else code)\n"
    )
    command = [sys.executable, "-c", code, "epsilon", *POISSON, *extra]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "13.7" in ran.stdout
