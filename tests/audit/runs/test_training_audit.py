"""Trainings under audit: a correct one stands, planted run-level bugs are refuted by the right check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clifftop import events
from clifftop.audit.document import AuditKind, Verdict
from clifftop.audit.runs import (
    Observed,
    OwnTraining,
    TrainingClaim,
    TrainingReport,
    audit_training,
    canaries_alone,
    ours,
)
from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation
from clifftop.flow import Params
from clifftop.noise import Gaussian, Keyed, RunStreams, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.sampling import BatchSampler, Indices, Poisson
from clifftop.sampling.base import StepGenerators

CLAIM = TrainingClaim(sampling_prob=0.125, noise_multiplier=1.0, steps=32, delta=1e-5)
PLAN = PrivacyPlan(
    sampler=Poisson(sampling_prob=0.125),
    clipping=Flat(clip_norm=0.5),
    noise=Gaussian(noise_multiplier=1.0),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=8.0,
)
Bend = Callable[[RunStreams, int, Params, Tensor], Params]


@final
class _Bent(RunStreams):
    """Streams whose noise is added in another way."""

    def __init__(self, seeds: Sequence[int], bend: Bend) -> None:
        super().__init__(seeds)
        self._true, self._bend = Keyed().open(seeds), bend

    def flat_normals(self, step: int, like: Params) -> Tensor:
        return self._true.flat_normals(step, like)

    def add_normals(self, step: int, value: Params, std: Tensor) -> Params:
        return self._bend(self._true, step, value, std)


@final
@dataclass(frozen=True)
class _Bug(StreamKind):
    bend: Bend

    def open(self, seeds: Sequence[int]) -> RunStreams:
        return _Bent(seeds, self.bend)


def _half(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    return true.add_normals(step, value, 0.5 * std)


def _none(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    del true, step, std
    return value


def _once(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    return true.add_normals(0, value, std)


def _each_epoch(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    return true.add_normals(step % 8, value, std)


def _twice_the_share(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    return true.add_normals(step, {name: 2.0 * part for name, part in value.items()}, std)


def _tied(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    """Blocks of 16 coordinates share their noise, as when a key is used for two tensors."""
    noisy = true.add_normals(step, {n: torch.zeros_like(v[:, :16]) for n, v in value.items()}, std)
    return {name: part + noisy[name].repeat(1, part.shape[1] // 16) for name, part in value.items()}


def _alike(true: RunStreams, step: int, value: Params, std: Tensor) -> Params:
    noisy = true.add_normals(step, {n: torch.zeros_like(v) for n, v in value.items()}, std)
    return {name: part + noisy[name][:1] for name, part in value.items()}


@final
class _Shuffled(BatchSampler):
    """Epochs of eight batches, each example once in each; accounted as Poisson."""

    def batch(self, step: int, *, num_examples: int, rng: StepGenerators) -> Indices:
        order = rng(step // 8).permutation(num_examples)
        return np.sort(order[step % 8 :: 8])


@final
@dataclass(frozen=True)
class _Late:
    """A training whose canaries never reach the releases."""

    true: OwnTraining
    claim: TrainingClaim = CLAIM
    num_canaries: int = 64

    def observe(self, present: np.ndarray, *, seed: int) -> Observed:
        return replace(self.true.observe(np.zeros_like(present), seed=seed), present=present)


def _alone(streams: StreamKind, plan: PrivacyPlan = PLAN) -> OwnTraining:
    return canaries_alone(plan, num_canaries=128, steps=32, streams=streams, claim=CLAIM)


def _failed(report: TrainingReport) -> set[str]:
    return {check.name for check in report.findings}


@pytest.fixture(scope="module")
def correct() -> TrainingReport:
    """Clifftop's own training: real rows, gradients, sampler, secure streams, optimiser."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(64, 5), torch.randint(0, 3, (64,))
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    training = ours(PLAN, module, cross_entropy, [inputs], [targets], num_canaries=128, steps=32)
    assert training.claim == CLAIM
    return audit_training(training, runs=24, seed=1)


def test_a_correct_training_stands_and_its_epsilon_is_nearly_shown(correct: TrainingReport) -> None:
    truth = CLAIM.epsilon.lower
    assert correct.ok
    assert correct.runs == 24
    assert correct.canary_runs == 24 * 128
    micro = correct.bound("micro-audit")
    assert 0.93 * truth <= micro.bound.epsilon <= truth
    assert not micro.heuristic
    assert correct.bound("Gaussian DP").heuristic
    assert not any(row.heuristic for row in correct.bounds if row.name.startswith("noise family"))
    assert 0.6 * truth <= correct.bound("noise family").bound.epsilon <= truth
    assert correct.micro is not None
    assert correct.micro.share == pytest.approx(1.0, abs=0.03)


def test_the_report_as_a_document(correct: TrainingReport) -> None:
    document = correct.document("own training")
    assert (document.kind, document.verdict) == (AuditKind.RUN, Verdict.NOT_REFUTED)
    assert "at most 0.001" in document.reason
    assert any("not proven private" in note for note in document.notes)
    assert any("5% of the noise missing" in note for note in document.notes)
    assert document.permitted is not None
    permitted = np.asarray(document.permitted.tpr)
    # Each limit errs with a chance of 2.5%, and neighbours err together.
    assert (np.asarray(document.curves[0].lower) <= permitted).mean() > 0.8
    assert dict(document.figures)["canaries a run"] == 128.0
    with pytest.raises(KeyError, match="micro-audit"):
        correct.bound("no such")


@pytest.mark.parametrize(
    ("bug", "caught_by"),
    [
        (_half, {"noise scale", "claimed curve, threshold held out", "micro-audit"}),
        (_twice_the_share, {"share of a canary", "claimed curve, threshold held out", "micro-audit"}),
        (_once, {"noise across steps", "claimed curve, learned attack"}),
        (_each_epoch, {"noise across steps"}),
        (_tied, {"noise across coordinates"}),
        (_alike, {"noise across runs"}),
    ],
)
def test_a_planted_bug_is_refuted(bug: Bend, caught_by: set[str]) -> None:
    report = audit_training(_alone(_Bug(bug)), runs=16, seed=2)
    assert caught_by <= _failed(report)
    assert report.document("bug").verdict is Verdict.REFUTED


def test_a_training_without_any_noise_is_refuted() -> None:
    plan = replace(PLAN, sampler=Poisson(sampling_prob=1.0))
    report = audit_training(canaries_alone(plan, num_canaries=16, steps=2, streams=_Bug(_none)), runs=8)
    assert {"noise scale", "noise shape", "micro-audit"} <= _failed(report)
    assert report.bound("micro-audit").bound.epsilon > 1e5


def test_tied_noise_takes_the_guarantee_from_pooled_bounds() -> None:
    report = audit_training(_alone(_Bug(_tied)), runs=8, seed=2)
    assert all(row.heuristic for row in report.bounds if "one canary" not in row.name)
    assert not any(row.heuristic for row in report.bounds if "one canary" in row.name)
    assert "no guarantee" in report.document("tied").notes[0]


def test_shuffling_is_no_poisson_sampling() -> None:
    plan = replace(PLAN, sampler=_Shuffled())
    report = audit_training(_alone(Keyed(), plan), runs=16, seed=2)
    assert _failed(report) == {"participations", "batch sizes"}
    assert all(row.heuristic for row in report.bounds if row.name.startswith("noise family"))
    assert "bounds by the noise family assume" in report.document("shuffle").notes[1]


def test_noise_of_another_kind_takes_the_guarantee_from_the_family() -> None:
    """One canary a run needs no independence within a run, but steps and runs of the claimed kind."""
    for bug, caught_by in ((_once, "noise across steps"), (_alike, "noise across runs")):
        report = audit_training(_alone(_Bug(bug)), runs=8, seed=2)
        assert caught_by in _failed(report)
        assert all(row.heuristic for row in report.bounds if row.name.startswith("noise family"))


def test_the_same_trainings_without_a_bug_stand() -> None:
    """The negative control of the cases above; each seed is refuted with a chance below 0.001."""
    for seed in range(3, 5):
        assert audit_training(_alone(Keyed()), runs=16, seed=seed).ok


def test_canaries_that_are_not_seen_are_told_of() -> None:
    true = canaries_alone(PLAN, num_canaries=64, steps=32, streams=Keyed())
    report = audit_training(_Late(true), runs=8)
    assert report.ok
    assert "hardly sees its canaries" in report.document("late").notes[0]


def test_a_budget_decides_how_many_runs_and_progress_is_told() -> None:
    told: list[float] = []
    training = _alone(Keyed())
    report = audit_training(training, budget_seconds=0.2, progress=lambda done, what: told.append(done))
    assert report.runs >= 12
    assert told[0] == 0.0
    assert told == sorted(told)
    assert told[-1] <= 1.0
    with pytest.raises(ValueError, match="one of the two"):
        audit_training(training, runs=8, budget_seconds=1.0)
    with pytest.raises(ValueError, match="at least 4"):
        audit_training(training, runs=2)
    with pytest.raises(ValueError, match=r"level must be .*found level=1e-16"):
        audit_training(training, runs=8, level=1e-16)


def test_runs_are_fresh_and_repeatable() -> None:
    training = _alone(Keyed())
    present = np.ones((2, 128), dtype=np.bool_)
    one, again, other = (training.observe(present, seed=seed) for seed in (1, 1, 2))
    assert (one.releases == again.releases).all()
    assert not (one.releases == other.releases).any(axis=None)
    assert (one.releases[0] != one.releases[1]).all()
    assert one.drawn is not None
    assert 0.1 < one.drawn.mean() < 0.15


def test_a_plan_that_claims_nothing_of_the_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="Poisson-sampled Gaussian"):
        canaries_alone(replace(PLAN, sampler=_Shuffled()), num_canaries=4, steps=2)


def test_a_plan_whose_clipping_costs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rule reads from the data is not in the claim of a sampled Gaussian mechanism."""
    monkeypatch.setattr(Flat, "event", lambda _: events.Gaussian(10.0))
    with pytest.raises(ValueError, match="nothing beside it"):
        canaries_alone(PLAN, num_canaries=4, steps=2)
