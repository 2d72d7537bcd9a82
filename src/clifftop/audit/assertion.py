"""One line for a test suite: what breaks its claim fails the build."""

from __future__ import annotations

from clifftop.audit.steps import PrivateStepUnderTest, StepReport, check_step


class LeaksMore(AssertionError):
    """A claim that does not hold; the message has what failed, ``report`` everything."""

    def __init__(self, report: StepReport) -> None:
        failed = "\n".join(f"{check.name}: {check.found} -- {check.must_hold}" for check in report.findings)
        super().__init__(f"a step must keep its claim ({report.claim}), found:\n{failed}")
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
    __tracebackhide__ = True
    report = check_step(step, level=level, seed=seed)
    if not report.ok:
        raise LeaksMore(report)
    return report
