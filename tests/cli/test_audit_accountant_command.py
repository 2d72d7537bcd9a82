"""`clifftop audit accountant`: a valid one passes, a false one ends with 1, bad input with 2."""

import json
import sys

import pytest

SOURCE = """
import math

def classic(sampling_prob, noise_multiplier, steps, delta):
    return sampling_prob * math.sqrt(2 * steps * math.log(1.25 / delta)) / noise_multiplier

def unsampled(sampling_prob, noise_multiplier, steps, delta):
    mu = math.sqrt(steps) / noise_multiplier
    return mu**2 / 2 + mu * math.sqrt(2 * math.log(1 / delta))

def noise(target_epsilon, sampling_prob, steps, delta):
    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        spent = unsampled(sampling_prob, middle, steps, delta)
        low, high = (middle, high) if spent > target_epsilon else (low, middle)
    return high

def worded(sampling_prob, noise_multiplier, steps, delta):
    return "high"

def other_names(q, sigma):
    return 1.0

def breaks(sampling_prob, noise_multiplier, steps, delta):
    raise RuntimeError("no table")

def divergence(order, sampling_prob, noise_multiplier):
    return order / (2 * noise_multiplier**2) if order == int(order) else 0.0
"""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """In a folder with accountants of a user's own."""
    (tmp_path / "own_accounts.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_accounts", None)


def test_a_valid_accountant_passes_however_loose(run, beside):
    ran = run(
        *("audit", "accountant", "own_accounts:unsampled", "--calibration", "own_accounts:noise"),
        *("--divergence", "own_accounts:divergence", "--whole-orders"),
    )
    assert ran.code == 0, ran.out
    assert "FAIL" not in ran.out
    assert "reported over the truth, largest: " in ran.out
    assert "not refuted: no answer was below the truth, as far as was asked" in ran.out


def test_a_false_accountant_ends_with_1_and_is_kept_for_the_report(run, beside):
    ran = run("audit", "accountant", "own_accounts:classic", "--json", "--save", str(beside))
    document = json.loads(ran.out)
    assert (ran.code, document["ok"], document["verdict"]) == (1, False, "refuted")
    assert {"truth", "full-batch"} <= {check["name"] for check in document["checks"] if not check["passed"]}
    kept = json.loads((beside / "audits" / "accountant-own-accounts-classic.json").read_text())
    assert kept["subject"] == "own_accounts:classic"


def test_an_order_that_is_free_is_found(run, beside):
    ran = run("audit", "accountant", "own_accounts:unsampled", "--divergence", "own_accounts:divergence")
    assert ran.code == 1
    assert "FAIL orders: " in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["math:pi"], "callable"),
        (["own_accounts:unsampled", "--calibration", "own_accounts:missing"], "missing"),
        (["own_accounts:unsampled", "--calibration", "own_accounts:other_names"], "missing a required"),
        (["own_accounts:unsampled", "--budget", "0"], "--budget: must be a time above 0"),
        (["own_accounts:worded"], "own_accounts:worded must give a number, found str"),
        (["own_accounts:other_names"], "own_accounts:other_names must take the keywords of (sampling_prob="),
        (["own_accounts:breaks"], "own_accounts.py, line 26: what is audited must run without an error"),
    ],
)
def test_bad_input_is_one_line(run, beside, arguments, words):
    assert words in run("audit", "accountant", *arguments).complaint
