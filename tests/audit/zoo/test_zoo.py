"""The zoo: every planted bug is caught by the check that it names, and what is correct passes."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from clifftop.audit.document import AuditKind, Verdict
from clifftop.audit.trainings import (
    Distributed,
    HasAccountant,
    HasPublicNumbers,
    Prepares,
    ReportsEpsilon,
    Runs,
    Trace,
    Tunes,
    UnusableTraining,
    check_training,
)
from clifftop.audit.trainings.findings import repeated
from clifftop.testing.zoo import TRAINING_BUGS, ZOO, BugKind, Trainer
from clifftop.testing.zoo.bugs.distributed import SameDataOnEveryRank, ScaledByTheWorkers
from clifftop.testing.zoo.bugs.state import NoiseAgainAfterResume
from clifftop.testing.zoo.valid import VALID

PAGE = Path(__file__).parents[3] / "docs" / "zoo.md"
NAMED = {
    "preparation": Prepares,
    "public-numbers": HasPublicNumbers,
    "post-processing": Runs,
    "charges": Runs,
    "noise-anew": Runs,
    "restart": Runs,
    "reported-epsilon": ReportsEpsilon,
}
BY_PREFIX = {"workers": Distributed, "accountant": HasAccountant, "tuning": Tunes}
EVERY = frozenset(NAMED.values()) | frozenset(BY_PREFIX.values())


def only(check):
    """All capabilities but the one that a check looks at."""
    return EVERY - {NAMED.get(check) or BY_PREFIX[check.split("-")[0]]}


@pytest.mark.parametrize("bug", TRAINING_BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_is_caught_by_its_check(bug):
    start = time.process_time()
    report = check_training(bug.plant(), without=only(bug.caught_by))
    assert bug.caught_by in {check.name for check in report.findings}, str(report)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("seed", range(3))
def test_the_correct_trainer_passes_every_check(seed):
    report = check_training(Trainer(), seed=seed)
    assert report.ok, str(report)
    assert not report.not_checked
    assert {bug.caught_by for bug in TRAINING_BUGS} <= {check.name for check in report.checks}
    assert len({check.name for check in report.checks}) == len(report.checks)


@pytest.mark.parametrize("variant", VALID, ids=lambda variant: variant.__name__)
def test_what_is_valid_is_not_flagged(variant):
    report = check_training(variant(), seed=5, without={HasAccountant})
    assert report.ok, str(report)


def test_the_zoo_has_all_kinds():
    counts = Counter(bug.kind for bug in ZOO)
    assert set(counts) == set(BugKind)
    assert min(counts.values()) >= 3
    assert len(ZOO) >= 80
    assert len({bug.name for bug in ZOO}) == len(ZOO)
    assert all(bug.description for bug in ZOO)
    assert sum(bool(bug.source) for bug in ZOO) >= 35


def test_the_page_names_every_bug():
    page = PAGE.read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == [bug.name for bug in ZOO]
    assert [row[2].strip() for row in rows] == [bug.kind for bug in ZOO]
    assert [row[4].strip() for row in rows] == [bug.source or "made up" for bug in ZOO]


def test_false_alarms_of_the_workers_checks_stay_within_the_level():
    """15 audits at level 0.2: more alarms than 99.9% of honest counts would refute the stated rate."""
    level, repetitions = 0.2, 15
    alone = only("workers")
    alarms = [
        not check_training(Trainer(), seed=s, level=level, without=alone).ok for s in range(repetitions)
    ]
    assert sum(alarms) <= stats.binom.ppf(0.999, repetitions, level)
    # Negative control: the same audits see noise that is half as large, whatever the seed.
    assert not any(
        check_training(ScaledByTheWorkers(), seed=s, level=1e-4, without=alone).ok for s in range(3)
    )


def test_a_document_says_what_failed_and_what_was_not_looked_at():
    document = check_training(SameDataOnEveryRank(), without=only("workers")).document("mine:training")
    assert document.kind is AuditKind.TRAINING
    assert document.verdict is Verdict.REFUTED
    assert "workers-sampler-distinct" in document.reason
    assert any("the accountant, since it was left out" in note for note in document.notes)
    passed = check_training(Trainer(), without=only("charges")).document("mine:training")
    assert passed.verdict is Verdict.NOT_REFUTED


def test_what_an_adapter_has_not_is_not_checked():
    class Prepared:
        def rows(self):
            return np.ones((4, 2))

        def prepare(self, rows):
            return rows / 2

    report = check_training(Prepared())
    assert [check.name for check in report.checks] == ["preparation"]
    assert len(report.not_checked) == 6
    with pytest.raises(UnusableTraining, match="at least one capability, found object"):
        check_training(object())
    with pytest.raises(ValueError, match="level must be"):
        check_training(Prepared(), level=0)


def test_a_training_that_raises_fails_its_check():
    class Refuses(Trainer):
        def draw(self, state, seed, count):
            raise RuntimeError("no data")

    report = check_training(Refuses(), without=only("charges"))
    assert [check.found for check in report.findings] == ["it raised RuntimeError: no data"]


def test_a_trace_needs_a_row_a_step():
    with pytest.raises(UnusableTraining, match="one row a step"):
        Trace(
            releases=np.ones((3, 2)),
            noise=np.ones((3, 2)),
            parameters=np.ones((2, 2)),
            charged=np.arange(3),
        )


def test_repeated_noise_is_seen_at_any_scale_and_in_parts():
    """Also in single precision; 40 honest draws in each precision have none."""
    rng = np.random.default_rng(0)
    for kind in (np.float32, np.float64):
        honest = rng.normal(size=(40, 16)).astype(kind).astype(np.float64)
        assert repeated(honest) is None
        part = honest.copy()
        part[31, :5] = (-0.3 * part[4, :5]).astype(kind)
        assert repeated(part) == (4, 31)
    assert repeated(np.zeros((4, 8))) is None


def test_noise_that_comes_again_at_another_scale_is_named():
    report = check_training(NoiseAgainAfterResume(), without=only("noise-anew"))
    assert "the noise of step 5 repeats that of step 0 when resumed at 5" in report.findings[0].found
