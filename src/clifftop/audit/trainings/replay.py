"""A training is made of its releases, goes on where it stopped, and charges all that it released."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clifftop.audit.steps import StepCheck
from clifftop.audit.trainings.adapter import Data, Runs, Trace
from clifftop.audit.trainings.findings import repeated, same, verdict

STEPS = 12
RESUME_AT = 5


def check_runs(training: Runs, *, seed: int, steps: int = STEPS) -> tuple[StepCheck, ...]:
    """All that a few short trainings show; exact, no false alarm."""
    whole = training.run(steps=steps, seed=seed)
    resumed = training.run(steps=steps, seed=seed, stop_and_resume_at=RESUME_AT)
    return (
        _post_processing(training, whole, seed),
        _charges(training, whole, resumed, seed),
        _noise_anew(training, whole, resumed, seed),
        _restart(training, whole, resumed, seed),
    )


def _post_processing(training: Runs, whole: Trace, seed: int) -> StepCheck:
    """The same releases make the same model, whatever the data were."""
    steps = len(whole.releases)
    faults: list[str] = []
    for data in (Data.GIVEN, Data.OTHER, Data.NONE):
        replay = training.run(steps=steps, seed=seed, data=data, releases=whole.releases)
        faults += [f"{what} with {data} data" for what in _differences(whole, replay)]
    return verdict(
        "post-processing",
        "everything that is kept or published must follow from the releases and public numbers",
        faults,
        otherwise=f"{steps} releases made the same model, whatever the data",
    )


def _differences(one: Trace, other: Trace) -> Iterator[str]:
    if one.parameters.shape != other.parameters.shape:
        yield f"the same releases made {len(other.parameters)} steps, not {len(one.parameters)}"
    elif not same(one.parameters, other.parameters):
        step = int(np.flatnonzero((one.parameters != other.parameters).any(1))[0])
        yield f"the same releases made other parameters in step {step}"
    for name in sorted(one.public.keys() | other.public.keys()):
        both = one.public.get(name), other.public.get(name)
        if both[0] is None or both[1] is None or not same(both[0], both[1]):
            yield f"the same releases made another {name!r}"


def _charges(training: Runs, whole: Trace, resumed: Trace, seed: int) -> StepCheck:
    """Each step releases, empty batches too, and the ledger holds exactly the releases."""
    steps = len(whole.releases)
    empty = training.run(steps=STEPS, seed=seed, data=Data.NONE)
    faults: list[str] = []
    for what, trace in (("", whole), (" after a restart", resumed), (" with empty batches", empty)):
        if len(trace.releases) != STEPS:
            faults.append(f"{STEPS} steps made {len(trace.releases)} releases{what}")
        silent = np.flatnonzero((trace.noise == 0).all(1)).tolist()
        if silent:
            faults.append(f"step {silent[0]} released without noise{what}")
        wrong = np.flatnonzero(trace.charged != np.arange(1, len(trace.charged) + 1)).tolist()
        if wrong:
            charged = int(trace.charged[wrong[0]])
            faults.append(f"{charged} releases are charged after {wrong[0] + 1} were made{what}")
    return verdict(
        "charges",
        "every step must release noise and be charged once: empty batches too, microbatches not",
        faults,
        otherwise=f"{steps} steps made {steps} releases, charged once each",
    )


def _noise_anew(training: Runs, whole: Trace, resumed: Trace, seed: int) -> StepCheck:
    """No noise comes twice: in one run, after a restart, or in the run of another seed."""
    other = training.run(steps=STEPS, seed=seed + 1)
    faults = [
        f"the noise of step {pair[1]} repeats that of step {pair[0]}{what}"
        for what, trace in (("", whole), (f" when resumed at {RESUME_AT}", resumed))
        if (pair := repeated(trace.noise)) is not None
    ]
    if not faults and repeated(np.concatenate([whole.noise, other.noise])) is not None:
        faults.append("a run with another seed repeats its noise")
    return verdict(
        "noise-anew",
        "noise must be drawn anew in every step, after a restart and in every run",
        faults,
        otherwise="no noise came twice",
    )


def _restart(training: Runs, whole: Trace, resumed: Trace, seed: int) -> StepCheck:
    """A resumed training goes on: it makes the same of the same releases, and draws other batches."""
    replay = training.run(
        steps=len(whole.releases), seed=seed, stop_and_resume_at=RESUME_AT, releases=whole.releases
    )
    faults = [f"{what}, when resumed at {RESUME_AT}" for what in _differences(whole, replay)]
    after, before = resumed.batches[RESUME_AT : 2 * RESUME_AT], resumed.batches[:RESUME_AT]
    # A fixed order may come again by itself: only what the run that was not stopped does not do is a fault.
    if any(after) and after == before and after != whole.batches[RESUME_AT : 2 * RESUME_AT]:
        faults.append(f"resumed at {RESUME_AT}, the batches of the first {RESUME_AT} steps came again")
    return verdict(
        "restart",
        "a resumed training must go on where it stopped: state, batches and ledger",
        faults,
        otherwise=f"resumed at {RESUME_AT}, the same releases made the same model",
    )
