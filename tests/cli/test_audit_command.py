"""`clifftop audit step`: a sound step passes, a faulty one ends with 1, bad input with 2."""

import json
import sys
from pathlib import Path

import pytest

from clifftop.audit.document import AuditDocument

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def beside(monkeypatch):
    """In the folder of the example, as a user would be."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    sys.modules.pop("audit_my_loop", None)


def test_a_sound_step_passes(run, beside):
    ran = run("audit", "step", "audit_my_loop:step")
    assert ran.code == 0
    assert "the step keeps its claim, as far as was looked" in ran.out
    assert "FAIL" not in ran.out


def test_a_faulty_step_ends_with_1_and_says_which_check(run, beside, monkeypatch):
    import audit_my_loop

    monkeypatch.setattr(audit_my_loop, "step", lambda: audit_my_loop.LogisticStep(clips_the_mean=True))
    ran = run("audit", "step", "audit_my_loop:step", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["ok"]) == (1, False)
    assert "sensitivity" in [check["name"] for check in document["checks"] if not check["passed"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["math:pi"], "callable"),
        (["no_such_module:step"], "no_such_module"),
        (["audit_my_loop"], "module:callable"),
        (["builtins:dict"], "found dict from builtins:dict"),
        (["audit_my_loop:step", "--level", "2"], "--level: must be a number above 0 and below 1, found '2'"),
        (["audit_my_loop:step", "--seed", "-1"], "--seed: must be 0 or above, found '-1'"),
        (["audit_my_loop:step", "--save", "audit_my_loop.py"], "--save: must be a folder, found the file"),
        (["audit_my_loop.py:step"], "write audit_my_loop:step"),
    ],
)
def test_bad_input_is_one_line(run, beside, arguments, words):
    assert words in run("audit", "step", *arguments).complaint


BROKEN = """
import sys

import audit_my_loop


def raises():
    raise RuntimeError("no data here\\nand more")


def leaves():
    sys.exit("gone")


def needs(path):
    return path


class Listed(audit_my_loop.LogisticStep):
    def __init__(self):
        super().__init__()
        self.examples = [1, 2]


class Claimless(audit_my_loop.LogisticStep):
    def __init__(self):
        super().__init__()
        self.claim = None


class Otherwise(audit_my_loop.LogisticStep):
    def release(self, batch):
        return [0.0]


class Worded(audit_my_loop.LogisticStep):
    def release(self, indices, *, noise, seed):
        return "zero"


class Breaks(audit_my_loop.LogisticStep):
    def release(self, indices, *, noise, seed):
        raise AttributeError("no such layer")


class Stopped(audit_my_loop.LogisticStep):
    def release(self, indices, *, noise, seed):
        raise KeyboardInterrupt


def refused():
    from clifftop.audit.trainings import UnusableTraining

    raise UnusableTraining("a training must have rows, found none; give some")
"""


@pytest.fixture
def broken(beside, tmp_path, monkeypatch):
    """Code of a user's own that cannot be audited: an exit code of 1 would say that it leaks."""
    (tmp_path / "breaks.py").write_text(BROKEN)
    (tmp_path / "unreadable.py").write_text("def step(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("breaks", "unreadable"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("breaks:raises", "breaks.py, line 8: what is audited must run without an error, found RuntimeError"),
        ("breaks:leaves", "breaks.py, line 12: what is audited must run without an error, found SystemExit"),
        ("unreadable:step", "unreadable.py, line 1: what is audited must run without an error, found Syntax"),
        ("breaks:needs", "callable without arguments, found breaks:needs(path)"),
        ("breaks:Listed", "examples must be how many it can name, a whole number, found list"),
        ("breaks:Claimless", "claim must be a clifftop.audit.steps.StepClaim, found NoneType"),
        ("breaks:Otherwise", "must be asked as release(indices, noise=, seed=)"),
        ("breaks:Worded", "a release must be a vector of numbers, found str"),
        ("breaks:refused", "a training must have rows, found none; give some"),
        ("breaks:Breaks", "line 43: what is audited must run without an error, found AttributeError: no"),
    ],
)
def test_code_that_breaks_is_told_in_one_line_and_refutes_nothing(run, broken, factory, words):
    assert words in run("audit", "step", factory).complaint


def test_an_interrupt_says_that_nothing_was_kept(run, broken, tmp_path):
    ran = run("audit", "step", "breaks:Stopped", "--save", str(tmp_path / "out"))
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "clifftop: interrupted; an audit keeps nothing before its end, run it again\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_is_named_as_one_of_a_report_only_where_it_has_runs(run, beside, tmp_path):
    ran = run("audit", "step", "audit_my_loop:step", "--save", str(tmp_path))
    assert ran.out.endswith("step-audit-my-loop-step.json\n")
    (tmp_path / "store.sqlite").touch()
    ran = run("audit", "step", "audit_my_loop:step", "--save", str(tmp_path))
    assert ran.out.endswith(f"step-audit-my-loop-step.json; `clifftop report {tmp_path}` shows it\n")


def test_what_cannot_be_kept_is_printed_all_the_same(run, beside, tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditDocument, "save", full)
    ran = run("audit", "step", "audit_my_loop:step", "--json", "--save", str(tmp_path))
    assert (ran.code, json.loads(ran.out)["ok"]) == (2, True)
    assert "--save must name a folder that can be written" in ran.err
    assert "No space left on device" in ran.err
