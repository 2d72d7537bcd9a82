"""One line for a test suite: what breaks its claim fails the build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from clifftop.audit.runs import TrainingClaim, TrainingReport, TrainingUnderTest
    from clifftop.audit.steps import PrivateStepUnderTest, StepClaim, StepReport
    from clifftop.audit.trainings import TrainingChecks

STEP_LEVEL, TRAINING_LEVEL = 1e-4, 1e-3


class LeaksMore(AssertionError):
    """A claim that does not hold; the message has what failed, ``report`` everything."""

    def __init__(self, report: StepReport | TrainingReport | TrainingChecks) -> None:
        failed = "\n".join(f"{check.name}: {check.found} -- {check.must_hold}" for check in report.findings)
        claim = report.document("what is audited").claim
        super().__init__(f"what is audited must keep its claim ({claim}), found:\n{failed}")
        self.report = report


@overload
def assert_private(
    subject: PrivateStepUnderTest,
    *,
    claimed: StepClaim | None = None,
    level: float = STEP_LEVEL,
    seed: int = 0,
) -> StepReport: ...
@overload
def assert_private(
    subject: TrainingUnderTest,
    *,
    claimed: TrainingClaim | None = None,
    level: float = TRAINING_LEVEL,
    seed: int = 0,
    budget_seconds: float = 20.0,
) -> TrainingReport: ...
@overload
def assert_private(
    subject: object, *, claimed: None = None, level: float = STEP_LEVEL, seed: int = 0
) -> TrainingChecks: ...
def assert_private(
    subject: Any,
    *,
    claimed: Any = None,
    level: float | None = None,
    seed: int = 0,
    budget_seconds: float = 20.0,
) -> StepReport | TrainingReport | TrainingChecks:
    """Check a step (`check_step`), a training (`audit_training`) or what surrounds it (`check_training`).

    Passing is no proof of privacy: it says what was looked at and found in order.

    Args:
        subject: what is audited, with its claim: a step (``release``), a training (``observe``), or a
            training with capabilities of `clifftop.audit.trainings`.
        claimed: what it must keep instead of its own claim.
        level: the probability, at most, that what keeps its claim fails; 1e-4 for a step, 1e-3 for a
            training, unless given.
        seed: of the search, the noise, the coins.
        budget_seconds: of CPU, for a training; it decides how many runs there are.

    Raises:
        LeaksMore: a check failed.
        UnusableTraining: the subject is none of them.
    """
    __tracebackhide__ = True
    if claimed is not None:
        subject = _Claiming(subject, claimed)
    report: StepReport | TrainingReport | TrainingChecks
    if hasattr(subject, "release"):
        from clifftop.audit.steps import check_step

        report = check_step(subject, level=STEP_LEVEL if level is None else level, seed=seed)
    elif hasattr(subject, "observe"):
        from clifftop.audit.runs import audit_training

        level = TRAINING_LEVEL if level is None else level
        report = audit_training(subject, level=level, seed=seed, budget_seconds=budget_seconds)
    else:
        from clifftop.audit.trainings import check_training

        report = check_training(subject, level=STEP_LEVEL if level is None else level, seed=seed)
    if not report.ok:
        raise LeaksMore(report)
    return report


_ASKED = ("examples", "release", "sample", "num_canaries", "observe")
"""What a step or a training may be asked."""


class _Claiming:
    """A subject under another claim."""

    def __init__(self, subject: Any, claim: Any) -> None:
        self._subject, self.claim = subject, claim
        # Held as its own: from Python 3.12 on `isinstance` of a protocol does not ask `__getattr__`.
        self.__dict__.update({name: getattr(subject, name) for name in _ASKED if hasattr(subject, name)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._subject, name)
