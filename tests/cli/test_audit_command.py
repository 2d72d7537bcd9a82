"""`clifftop audit step`: a sound step passes, a faulty one ends with 1, bad input with 2."""

import json
import sys
from pathlib import Path

import pytest

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
        (["audit_my_loop:step", "--level", "2"], "level must be in (0, 1), found level=2"),
    ],
)
def test_bad_input_is_one_line(run, beside, arguments, words):
    assert words in run("audit", "step", *arguments).complaint
