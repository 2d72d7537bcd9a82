"""`clifftop audit step`: check what a training step does against what it claims."""

from __future__ import annotations

import inspect
from numbers import Integral
from typing import TYPE_CHECKING

from clifftop.cli.audit.factories import made
from clifftop.cli.audit.settings import Save, Seed, Share
from clifftop.cli.audit.showing import finish
from clifftop.cli.audit.telling import told
from clifftop.cli.options import Json

if TYPE_CHECKING:
    from clifftop.audit.steps import PrivateStepUnderTest


def step(
    factory: str,
    /,
    *,
    level: Share = 1e-4,
    seed: Seed = 0,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Check one training step: sensitivity, noise, sampler, and what must not cross examples; 1 if it fails.

    The step is what MODULE:CALLABLE gives: an object with a claim and a release, of any library or of your
    own loop (see the page on audits): `clifftop audit step my_audit:step`. Passing is no proof of privacy.

    Args:
        factory: MODULE:CALLABLE, called without arguments; modules of this folder are found too.
        level: the probability, at most, that a step which keeps its claim fails, such as 1e-4.
        seed: of the search and of the noise.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    with told(f"checking {factory}"):
        from clifftop.audit import check_step

        report = check_step(_step(factory), level=level, seed=seed)
    return finish(report.document(factory), as_json=as_json, save=save)


def _step(factory: str) -> PrivateStepUnderTest:
    found = made(factory)
    if not all(hasattr(found, name) for name in ("claim", "examples", "release")):
        raise ValueError(
            "the factory must give a step with claim, examples and release, found "
            f"{type(found).__name__} from {factory}; return clifftop.audit.steps.ours(...), or an object "
            "with these three"
        )
    from clifftop.audit.steps import StepClaim

    if not isinstance(found.claim, StepClaim):
        raise ValueError(
            f"a step's claim must be a clifftop.audit.steps.StepClaim, found {type(found.claim).__name__} "
            f"from {factory}; give it the clip norm, the noise multiplier and what the sum is divided by"
        )
    if not isinstance(found.examples, Integral):
        raise ValueError(
            f"a step's examples must be how many it can name, a whole number, found "
            f"{type(found.examples).__name__} from {factory}; release(...) is given their numbers from 0 on"
        )
    _ask_first(factory, found)
    return found


def _ask_first(factory: str, step: PrivateStepUnderTest) -> None:
    """One ordinary release: what cannot make it cannot be audited, rather than breaks its claim.

    Raises:
        ValueError: it is called by other names, or gives no numbers.
        BrokenSubject: it raised an error.
    """
    import numpy as np

    asked = {"noise": True, "seed": 0}
    batch = tuple(range(min(2, int(step.examples))))
    try:
        inspect.signature(step.release).bind(batch, **asked)
    except TypeError as error:
        raise ValueError(
            f"a step must be asked as release(indices, noise=, seed=), found: {error}, from {factory}; name "
            "its arguments so"
        ) from error
    vector = step.release(batch, **asked)
    try:
        np.asarray(vector, dtype=np.float64)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"a release must be a vector of numbers, found {type(vector).__name__} from {factory} ({error}); "
            "return a NumPy array, or a tensor without a graph on the CPU"
        ) from error
