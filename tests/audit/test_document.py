"""Audits as documents: kept whole, read back equal, refused in one line."""

import pytest

from clifftop.audit.document import (
    AuditDocument,
    AuditKind,
    BoundRow,
    CheckRow,
    CurveRow,
    Verdict,
    load_audits,
)
from clifftop.audit.estimators import LowerBound

BOUND = LowerBound(epsilon=1.5, delta=1e-5, confidence=0.95, assumptions=("runs,",), detection_limit=3.0)
CURVE = CurveRow(name="LiRA", fpr=(0.0, 0.5, 1.0), tpr=(0.0, 0.7, 1.0), lower=(0.0, 0.6, 1.0))
CHECK = CheckRow(name="sum", passed=False, found="2", must_hold="at most 1")


def document(subject: str = "my_audit:run", **more) -> AuditDocument:
    return AuditDocument(
        kind=AuditKind.RUN, subject=subject, claim="epsilon 1", verdict=Verdict.REFUTED, reason="why", **more
    )


def test_what_is_kept_is_read_back(tmp_path):
    one = document(
        checks=(CHECK,), bounds=(BoundRow(name="rates", bound=BOUND),), curves=(CURVE,), permitted=CURVE
    )
    other = document("another", figures=(("claimed epsilon", float("inf")),))
    assert one.save(tmp_path).name == "run-my-audit-run.json"
    other.save(tmp_path)
    assert list(load_audits(tmp_path)) == [other, one]


def test_an_audit_made_again_takes_the_place_of_the_first(tmp_path):
    document(seconds=1.0).save(tmp_path)
    document(seconds=2.0).save(tmp_path)
    assert [one.seconds for one in load_audits(tmp_path)] == [2.0]


def test_a_folder_without_audits_has_none(tmp_path):
    assert list(load_audits(tmp_path)) == []


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"$kind": "os:system"}'])
def test_a_file_that_holds_none_is_named_in_one_line(tmp_path, content):
    (tmp_path / "audits").mkdir()
    (tmp_path / "audits" / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=r"bad\.json: an audit's file must hold an audit") as caught:
        list(load_audits(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_curve_has_a_limit_a_point_or_none():
    with pytest.raises(ValueError, match="as many true as false positive rates"):
        CurveRow(name="LiRA", fpr=(0.0, 1.0), tpr=(0.0, 1.0), upper=(1.0,))
