"""All checks of one training step, in seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import final

from clifftop.audit.document import AuditDocument, AuditKind
from clifftop.audit.steps import noise, sampler
from clifftop.audit.steps.adapter import PrivateStepUnderTest, Sampling, UnusableStep
from clifftop.audit.steps.draws import draw_noise
from clifftop.audit.steps.findings import StepCheck
from clifftop.audit.steps.reports import ChecksReport
from clifftop.audit.steps.sensitivity import check_sensitivity
from clifftop.audit.steps.state import check_history, check_linearity
from clifftop.audit.steps.sums import REFUSALS, Sums, check_empty, refusal_of_empty
from clifftop.audit.steps.timing import timed
from clifftop.audit.threads import on_one_thread

STATISTICAL_CHECKS = noise.CHECKS + sampler.CHECKS
"""How many checks share the level."""
_timed = partial(
    timed,
    must_hold="a step must take any batch that sampling can draw",
    refusals=REFUSALS,
    unusable=UnusableStep,
)


@final
@dataclass(frozen=True, kw_only=True)
class StepReport(ChecksReport):
    """What the checks of a step said.

    Nothing here proves a step private: the checks look at one point in parameter space, at the examples
    that the adapter can name, and at the pairs of batches that were tried.

    Attributes:
        checks: all that were made, in order.
        level: the probability, at most, that a step which keeps its claim fails a statistical check.
        not_checked: what could not be looked at, and why.
        seconds: how long all took.
        claim: what was claimed, in one line.
    """

    claim: str = ""

    def document(self, subject: str) -> AuditDocument:
        """The audit in the form of all audits."""
        return self.as_document(
            AuditKind.STEP,
            subject,
            claim=self.claim,
            sound="the step keeps its claim, as far as was looked",
            notes=(f"a step that keeps its claim fails with probability {self.level:g} at most",),
        )


@on_one_thread
def check_step(
    step: PrivateStepUnderTest,
    *,
    level: float = 1e-4,
    seed: int = 0,
    noise_steps: int = 48,
    batches: int = 2000,
    search_seconds: float = 3.0,
) -> StepReport:
    """Check one training step against its claim.

    Exact checks (no false alarm but for rounding, 1e-3 of the clip norm): sensitivity, linearity, history,
    the empty batch, noise everywhere and anew. Statistical checks share ``level`` equally (Bonferroni):
    whatever depends on whatever, a step that keeps its claim fails with probability at most ``level``.
    A check whose batches the step refuses fails, and says with what.

    Args:
        step: the step, and `clifftop.audit.steps.Sampling` if its batches are to be checked.
        level: of the whole audit.
        seed: of the search and the first step whose noise is drawn.
        noise_steps: steps whose noise is drawn; two releases each.
        batches: steps whose batches are drawn.
        search_seconds: of CPU, after which the search for the sensitivity stops.

    Raises:
        ValueError: ``level`` is not in (0, 1).
        UnusableStep: a release has not the claimed size, or there is one example or none.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), found level={level}; a step is rarely audited: use 1e-4")
    if step.examples < 2:
        raise UnusableStep(
            f"a step must be able to name two examples, found examples={step.examples}; give it a few dozen"
        )
    start = time.perf_counter()
    each = level / STATISTICAL_CHECKS
    sums = Sums(step, seed=seed)
    checks = [
        *_timed("empty-batch", lambda: (check_empty(step, seed=seed),)),
        *_timed("sensitivity", lambda: (_sensitivity(sums, seconds=search_seconds),)),
        *_timed("linearity", lambda: (check_linearity(step, seed=seed, sums=sums),)),
        *_timed("history", lambda: (check_history(step, seed=seed),)),
        *_timed("noise", lambda: _noise(step, level=each, seed=seed, steps=noise_steps)),
        *_timed("sampler", lambda: _sampler(step, level=each, seed=seed, batches=batches)),
    ]
    return StepReport(
        checks=tuple(checks),
        level=level,
        not_checked=_not_checked(step, seed),
        seconds=time.perf_counter() - start,
        claim=str(step.claim),
    )


def _sensitivity(sums: Sums, *, seconds: float) -> StepCheck:
    return check_sensitivity(sums.step, seed=sums.seed, budget_seconds=seconds, sums=sums)


def _noise(step: PrivateStepUnderTest, *, level: float, seed: int, steps: int) -> tuple[StepCheck, ...]:
    with_empty = not refusal_of_empty(step, seed)
    return noise.check_noise(draw_noise(step, seed=seed, steps=steps, with_empty=with_empty), level=level)


def _sampler(step: PrivateStepUnderTest, *, level: float, seed: int, batches: int) -> tuple[StepCheck, ...]:
    claim = step.claim.sampling
    if claim is None or not isinstance(step, Sampling):
        return ()
    return sampler.check_sampler(sampler.draw_batches(step, claim, seed=seed, steps=batches), level=level)


def _not_checked(step: PrivateStepUnderTest, seed: int) -> tuple[str, ...]:
    missing: list[str] = []
    if step.claim.sampling is None:
        missing.append("the sampler, since the claim names no Poisson sampling")
    elif not isinstance(step, Sampling):
        missing.append("the sampler, since the step has no sample(step, seed)")
    if refusal_of_empty(step, seed):
        missing.append("whether noise lies on a grid, since there is no empty batch to see it on")
    return tuple(missing)
