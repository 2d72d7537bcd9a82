"""`clifftop tune`: tune on private data at a known price, and see the winner only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clifftop.cli.options import Json, Real, Whole
from clifftop.cli.output import print_json, print_line

if TYPE_CHECKING:
    from clifftop.lab.tuning import Design, Released

SCORED = ("public", "private")


def tune(
    file: Path,
    /,
    *,
    out: Path,
    score_data: str | None = None,
    mean: Annotated[float, Parameter(allow_leading_hyphen=True)] = 10.0,
    law: str = "geometric",
    epsilon: Real = None,
    workers: Whole = None,
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    abandon: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    as_json: Json = False,
) -> int:
    """Tune on private data: train a secret, random number of trials, and release the best alone.

    - What it would cost: `clifftop tune sweep.toml --out tuned --score-data public --dry-run`
    - At epsilon 3 in all: `clifftop tune sweep.toml --out tuned --score-data private --epsilon 3`
    - Go on after a crash: the same command; it trains the same trials.

    Nothing is said of how far it is: the number of trials is part of what the price keeps secret.

    Args:
        file: the sweep, in TOML or Python, whose axes the settings of the trials are drawn from.
        out: folder of the release: tuned.json and tuned.safetensors.
        score_data: public if anyone may see the test rows; private if they are part of the private data,
            apart from the training rows: then trials are ranked by a noisy count.
        mean: how many trials to expect.
        law: of the number of trials: geometric, logarithmic or poisson.
        epsilon: calibrate the noise of all trials so that the whole tuning costs no more than this.
        workers: processes that train at the same time.
        dry_run: print the price, and train nothing.
        abandon: destroy a tuning under way in the folder, of which nothing is released.
        as_json: print one JSON document and nothing else.
    """
    if abandon:
        return _abandon(out)
    if score_data not in SCORED:
        raise ValueError(
            f"--score-data must say whether the test rows are {' or '.join(SCORED)}, found {score_data}; "
            "they are public only if nobody's privacy hangs on them"
        )
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be at least 1, found {workers}; leave it out for one")
    planned = _planned(file, law, mean, are_public=score_data == "public", epsilon=epsilon)
    if dry_run:
        _tell_price(planned, as_json=as_json)
        return 0
    _tell(_tuned(file, planned, out, workers), as_json=as_json)
    return 0


def _abandon(folder: Path) -> int:
    from clifftop.lab.tuning import abandon

    found = abandon(folder)
    said = "the trials were destroyed" if found else "no tuning was under way"
    print_line(f"{folder}: {said}; nothing was released")
    return 0


def _planned(file: Path, law: str, mean: float, *, are_public: bool, epsilon: float | None) -> Design:
    from clifftop.lab.sweep import load_sweep
    from clifftop.lab.sweep.files import faults_name
    from clifftop.lab.tuning import ScoredRows, plan_tuning
    from clifftop.lab.tuning.laws import law_named

    trials = law_named(law, mean)
    if epsilon is not None and not 0 < epsilon < float("inf"):
        raise ValueError(f"--epsilon must be finite and > 0, found {epsilon}; pass such as --epsilon 3")
    sweep = load_sweep(file)
    with faults_name(file):
        return plan_tuning(sweep, trials, scored=ScoredRows(are_public=are_public), target_epsilon=epsilon)


def _tuned(file: Path, planned: Design, folder: Path, workers: int | None) -> Released:
    from clifftop.lab.executors import executor_named
    from clifftop.lab.sweep.files import faults_name
    from clifftop.lab.tuning import tune

    executor = None if workers in (None, 1) else executor_named("pool", workers=workers)
    try:
        with faults_name(file):
            return tune(planned, folder, executor=executor, started=_say_started)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"clifftop: nothing was released; the trials as drawn are kept in {folder}, and clifftop tune "
            f"--out {folder} {file} --abandon destroys them\n"
        )
        raise


def _say_started() -> None:
    sys.stderr.write("clifftop: training; how many trials there are stays secret, so no progress is shown\n")


def _tell_price(planned: Design, *, as_json: bool) -> None:
    from clifftop.lab.tuning.wording import up

    upper, delta = planned.epsilon.upper, planned.sweep.delta
    noise = sorted(planned.least_noise.values())
    if as_json:
        facts = {"epsilon": upper, "delta": delta, "one_run_epsilon": planned.one_run.upper}
        facts |= {"neighboring_relation": planned.neighboring_relation.value}
        print_json(facts | {"least_noise_multipliers": noise, "score_is": planned.score.words})
        return
    print_line(f"the whole tuning costs epsilon <= {up(upper)} at delta = {delta:g}")
    print_line(f"one trial alone would cost epsilon <= {up(planned.one_run.upper)}")
    print_line(f"noise multipliers from {noise[0]:g} on; trials are ranked {planned.score.words}")


def _tell(released: Released, *, as_json: bool) -> None:
    if as_json:
        print_json(released.document)
        return
    if released.setting is None:
        print_line("the number of trials was 0: nothing is released")
    else:
        setting = ", ".join(f"{name} = {value}" for name, value in released.setting.items())
        score = (
            "diverged"
            if released.score is None
            else f"{released.document['winner']['metric']} {released.score:g}"
        )
        print_line(f"the best trial: {setting or 'the one setting'}: {score}")
    print_line(released.statement)
    print_line(f"released: {released.folder}")
