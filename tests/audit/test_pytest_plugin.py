"""The plugin: a faulty step fails its test, a sound one passes, and the end of the run lists both."""

import json
import os
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
ALONE = [f"-pno:{plugin}" for plugin in ("cacheprovider", "hypothesispytest", "xdist", "xdist.looponfail")]
TESTS = """
from audit_my_loop import LogisticStep

def test_sound(assert_private):
    assert assert_private(LogisticStep()).ok

def test_faulty(assert_private):
    assert_private(LogisticStep(clips_the_mean=True), level=1e-5)
"""


def test_a_faulty_step_fails_the_build_and_audits_are_listed_and_kept(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES), prepend=os.pathsep)
    pytester.makepyfile(TESTS)
    # A process of its own: numpy cannot be loaded twice by one.
    ran = pytester.runpytest_subprocess(*ALONE, "--audit-save", str(pytester.path))
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*LeaksMore: what is audited must keep its claim (clip norm 1, noise multiplier 1.5*",
            "*privacy audits*",
            "not refuted: *test_sound*",
            "refuted: *test_faulty*: failed: sensitivity*",
        ]
    )
    kept = [json.loads(path.read_text()) for path in sorted((pytester.path / "audits").iterdir())]
    assert [one["subject"].partition("::")[2] for one in kept] == ["test_faulty", "test_sound"]
    assert all(one["checks"] for one in kept)


def test_nothing_is_said_where_nothing_was_audited(pytester):
    pytester.makepyfile("def test_nothing():\n    pass\n")
    assert "privacy audits" not in pytester.runpytest_inprocess().stdout.str()
