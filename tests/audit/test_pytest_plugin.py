"""The plugin: a faulty step fails its test, a sound one passes, and the end of the run lists both."""

import json
import os
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
ALONE = [f"-pno:{plugin}" for plugin in ("cacheprovider", "hypothesispytest")]
TESTS = """
from audit_my_loop import LogisticStep

def test_sound(assert_private):
    assert assert_private(LogisticStep()).ok

def test_faulty(assert_private):
    assert_private(LogisticStep(clips_the_mean=True), level=1e-5)

def test_twice(assert_private):
    assert_private(LogisticStep())
    assert_private(LogisticStep(), seed=1)
"""


def test_a_faulty_step_fails_the_build_and_audits_are_listed_and_kept(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES), prepend=os.pathsep)
    pytester.makepyfile(TESTS)
    # A process of its own, since numpy cannot be loaded twice by one, which hands the tests to another.
    ran = pytester.runpytest_subprocess(*ALONE, "-n1", "--audit-save", str(pytester.path))
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*LeaksMore: what is audited must keep its claim (clip norm 1, noise multiplier 1.5*",
            "*privacy audits*",
            "not refuted: *test_sound*",
            "refuted: *test_faulty*: failed: sensitivity*",
            "not refuted: *::test_twice [[]*",
            "not refuted: *::test_twice (2) [[]*",
        ]
    )
    kept = [json.loads(path.read_text()) for path in sorted((pytester.path / "audits").iterdir())]
    assert [one["subject"].partition("::")[2] for one in kept] == [
        "test_faulty",
        "test_sound",
        "test_twice (2)",
        "test_twice",
    ]
    assert all(one["checks"] for one in kept)


def test_nothing_is_said_where_nothing_was_audited(pytester):
    pytester.makepyfile("def test_nothing():\n    pass\n")
    assert "privacy audits" not in pytester.runpytest_inprocess().stdout.str()


def test_a_file_in_place_of_the_folder_is_refused_in_one_line(pytester):
    pytester.makepyfile(taken="")
    ran = pytester.runpytest_inprocess("--audit-save", "taken.py")
    assert ran.ret == 4
    assert "--audit-save must name a folder, found the file 'taken.py'; name another" in ran.stderr.str()
