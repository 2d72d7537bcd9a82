"""`clifftop audit run`: many runs or one, a verdict that a build can go by, bad input in one line."""

import json
import sys

import pytest

from clifftop.audit.document import Verdict, load_audits

MODULE = """
from dataclasses import replace

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.audit.one_run import DiracCanaries
from clifftop.audit.runs import canaries_alone

PLAN = PrivacyPlan(
    sampler=Poisson(sampling_prob=0.128),
    clipping=Flat(clip_norm=1.0),
    noise=Gaussian(noise_multiplier=1.974),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=64,
)


def sound():
    return canaries_alone(PLAN, num_canaries=64, steps=20)


def half_the_noise():
    training = sound()
    stronger = replace(training.claim, noise_multiplier=2 * 1.974)
    return canaries_alone(PLAN, num_canaries=64, steps=20, claim=stronger)


class Claimless:
    claim, num_canaries, observe = "epsilon 1", 8, None


class NoCanaries:
    claim, num_canaries, observe = sound().claim, 0, None


class Kindless:
    claim, num_canaries, kind, scores = sound().claim, 30, "canaries", None


def once():
    return DiracCanaries(training=sound())
"""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    (tmp_path / "audited_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("audited_here", None)


def test_a_sound_training_is_not_refuted_and_is_kept(run, beside):
    ran = run("audit", "run", "audited_here:sound", "--budget", "0.5s", "--save", "out")
    assert ran.code == 0
    assert "not refuted: 14 checks" in ran.out
    assert "micro-audit: epsilon >= " in ran.out
    (kept,) = load_audits(beside / "out")
    assert kept.verdict is Verdict.NOT_REFUTED
    assert kept.curves


def test_missing_noise_ends_with_1(run, beside):
    ran = run("audit", "run", "audited_here:half_the_noise", "--budget", "0.5", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["ok"]) == (1, False)
    assert "noise scale" in [check["name"] for check in document["checks"] if not check["passed"]]
    (micro,) = [bound for bound in document["bounds"] if bound["name"] == "micro-audit"]
    assert micro["detected"]
    assert micro["epsilon"] > document["figures"]["claimed epsilon"]


def test_a_training_of_one_run_is_audited_by_it(run, beside):
    ran = run("audit", "run", "audited_here:once")
    assert ran.code == 0
    assert "one run with" in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["builtins:dict"], "found dict from builtins:dict"),
        (["audited_here:sound", "--budget", "soon"], "must be a time above 0"),
        (["audited_here:sound", "--confidence", "1.5"], "--confidence: must be a number above 0 and below 1"),
        (["audited_here:sound", "--level", "2"], "--level: must be a number above 0 and below 1, found '2'"),
        (["audited_here:sound", "--seed", "-3"], "--seed: must be 0 or above"),
        (["audited_here:Claimless"], "claim must be a clifftop.audit.runs.TrainingClaim, found str"),
        (["audited_here:NoCanaries"], "one canary or more, found num_canaries=0"),
        (["audited_here:Kindless"], "kind must be a clifftop.audit.one_run.CanaryKind, found str"),
    ],
)
def test_bad_input_is_one_line(run, beside, arguments, words):
    assert words in run("audit", "run", *arguments).complaint
