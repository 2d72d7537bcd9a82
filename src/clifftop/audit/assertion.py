"""One line for a test suite: a step that breaks its claim fails the build."""

from __future__ import annotations

from clifftop.audit.steps import PrivateStepUnderTest, StepReport, check_step


class LeaksMore(AssertionError):
    """A step that does not keep its claim; the message has every check, failed ones marked."""

    def __init__(self, report: StepReport) -> None:
        super().__init__(f"a step must keep its claim, found:\n{report}")
        self.report = report


def assert_private(step: PrivateStepUnderTest, *, level: float = 1e-4, seed: int = 0) -> StepReport:
    """Check a training step against its claim (`clifftop.audit.steps.check_step`).

    Passing is no proof of privacy: it says what was looked at and found in order.

    Args:
        step: what is audited, with its claim.
        level: the probability, at most, that a step which keeps its claim fails.
        seed: of the search and of the noise.

    Raises:
        LeaksMore: a check failed.
    """
    report = check_step(step, level=level, seed=seed)
    if not report.ok:
        raise LeaksMore(report)
    return report
