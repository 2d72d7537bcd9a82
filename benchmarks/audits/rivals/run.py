"""Other libraries' private steps, accountants and trainings under Clifftop's checks, and Clifftop's own.

Nothing here is tuned to a library: all get the same tasks, examples, claim and checks. A step that fails is
examined again without the examples that made it fail (first those that are not finite, then huge ones), so
that one finding does not hide another. What each finding means, and whether it breaks what the library itself
states, is in docs/rivals_audited.md. One thread; about three CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PARTS = ("steps", "size", "accountants", "training")
RECORD = Path(__file__).parents[2] / "records" / "audit_rivals.json"
PACKAGES = ("opacus", "opake", "jax-privacy", "jax", "dp-accounting", "numpy", "scipy")
SEARCH_SECONDS = 4.0
CHECKS = 16

Make = Callable[..., Any]
Setting = tuple[str, str, str, Make]
"""Library, setting, task, and what makes its step for a task and a scope."""


def main() -> None:
    """Examine everything that is installed, and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs; no record")
    parser.add_argument("--only", choices=PARTS, help="one part; in the record it takes the old one's place")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    part = 10 if options.quick else 1
    figures = _figures(options.only, part)
    if options.quick:
        print(json.dumps(figures, indent=1))
        return
    sys.path.append(str(Path(__file__).parents[2]))
    from common import record

    if options.only and RECORD.exists():
        figures = json.loads(RECORD.read_text(encoding="utf-8"))["figures"] | figures
    seconds = sum(figures[name]["cpu_seconds"] for name in PARTS)
    record("audit_rivals", figures | {"cpu_seconds": round(seconds, 1)})


def _figures(only: str | None, part: int) -> dict[str, Any]:
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "steps": step_audits,
        "size": lambda: _size(part),
        "accountants": lambda: _accountants(part),
        "training": lambda: _training(part),
    }
    figures: dict[str, Any] = {"versions": versions()}
    for name in PARTS if only is None else (only,):
        started = time.process_time()
        made = makers[name]()
        figures[name] = made | {"cpu_seconds": round(time.process_time() - started, 1)}
    return figures


def versions() -> dict[str, str]:
    """Of what is under audit; without an entry it is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def settings() -> Iterator[Setting]:
    """Every library's settings, of those that are installed."""
    from by_book_keeping import BookKeepingStep, abadi, automatic
    from by_clifftop import clifftop_step

    every = ("mlp", "cnn", "embedding")
    for task in every:
        yield "clifftop", "Trainer's step", task, clifftop_step
    yield "clifftop", "microbatches of 3", "mlp", _with(clifftop_step, microbatch_size=3)
    if find_spec("opacus"):
        yield from opacus_settings(every)
    if find_spec("opake"):
        yield from opake_settings(every)
    if find_spec("jax_privacy"):
        from by_jax import JaxStep

        yield "jax-privacy", "clipped_grad, gaussian_privatizer", "mlp", JaxStep
        yield "jax-privacy", "the same, batches padded to 64", "mlp", _with(JaxStep, padded=True)
    book_keeping = "book-keeping (our re-implementation)"
    yield book_keeping, "clipping of Abadi et al.", "mlp", _with(BookKeepingStep, clip=abadi)
    yield book_keeping, "automatic clipping", "mlp", _with(BookKeepingStep, clip=automatic)


def opacus_settings(every: tuple[str, ...]) -> Iterator[Setting]:
    """Modes of `make_private`, ways of clipping, virtual steps."""
    from by_opacus import OpacusAdaptiveStep, OpacusStep

    for mode in ("hooks", "functorch", "ew", "ghost"):
        for task in every:
            yield "opacus", f"grad_sample_mode={mode}", task, _with(OpacusStep, mode=mode)
    yield "opacus", "BatchMemoryManager of 3, hooks", "mlp", _with(OpacusStep, physical=3)
    yield "opacus", "BatchMemoryManager of 3, ghost", "mlp", _with(OpacusStep, physical=3, mode="ghost")
    yield "opacus", "clipping=per_layer", "mlp", _with(OpacusStep, clipping="per_layer")
    yield "opacus", "secure_mode of its optimiser", "mlp", _with(OpacusStep, secure=True)
    yield "opacus", "rand_on_empty=True", "mlp", _with(OpacusStep, rand_on_empty=True)
    yield "opacus", "clipping=adaptive, with the new clip norm", "mlp", OpacusAdaptiveStep


def opake_settings(every: tuple[str, ...]) -> Iterator[Setting]:
    """Its ways of clipping, and microbatches."""
    from by_opake import OpakeAdaptiveStep, OpakeStep

    for task in every:
        yield "opake", "clipped_grad", task, OpakeStep
    yield "opake", "auto_clipped_grad", "mlp", _with(OpakeStep, kind="auto")
    yield "opake", "per_group", "mlp", _with(OpakeStep, kind="per_group")
    yield "opake", "microbatches of 3", "mlp", _with(OpakeStep, microbatch_size=3)
    yield "opake", "adaptive_clipped_grad, with the new clip norm", "mlp", OpakeAdaptiveStep


def _with(make: Make, **options: Any) -> Make:
    return lambda task, *, scope: make(task, scope=scope, **options)


def step_audits() -> dict[str, Any]:
    """A row for each setting: every scope until one passes."""
    from subjects import Scope, tasks

    made = tasks()
    rows = []
    for library, setting, task, make in settings():
        scopes: dict[str, Any] = {}
        for scope in Scope:
            scopes[scope.value] = found = _step_audit(make(made[task], scope=scope))
            if not any(finding["not_finite"] for finding in found["findings"]):
                break
        rows.append({"library": library, "setting": setting, "model": task, "scopes": scopes})
    return {"checks": CHECKS, "rows": rows}


def _step_audit(step: Any) -> dict[str, Any]:
    from clifftop.audit.steps import check_step

    step.release((0, 1), noise=True, seed=0)  # what is made on the first call is no part of the search
    started = time.process_time()
    report = check_step(step, search_seconds=SEARCH_SECONDS)
    refused = any(check.name == "empty-batch" for check in report.findings)
    return {
        **({"largest_change_of_non_empty": _change_of_non_empty(step)} if refused else {}),
        "claim": report.claim,
        "passed": [check.name for check in report.checks if check.passed],
        "findings": [_finding(check) for check in report.findings],
        "not_checked": list(report.not_checked),
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def _change_of_non_empty(step: Any) -> dict[str, Any]:
    """Where an empty batch is refused, and counted as a sum of zeros: the change from one example to two."""
    import numpy as np

    from clifftop.audit.steps.sums import Sums

    sums, names = Sums(step, seed=0), range(0, step.examples, 3)
    pairs = [(a, z) for a in names for z in names if a != z]
    with np.errstate(invalid="ignore", over="ignore"):
        changes = [float(np.linalg.norm(sums((a, z)) - sums((a,)))) for a, z in pairs]
    worst = int(np.argmax(np.nan_to_num(changes, nan=np.inf)))
    value = round(changes[worst], 4) if np.isfinite(changes[worst]) else None
    return {"value": value, "limit": round(step.claim.clip_norm, 4), "pair": pairs[worst]}


def _finding(check: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"check": check.name, "found": check.found, "must_hold": check.must_hold}
    witness = check.witness
    found["not_finite"] = witness is not None and witness.value == float("inf")
    if witness is not None:
        found |= {
            "value": None if found["not_finite"] else round(witness.value, 4),
            "limit": round(witness.limit, 4),
            "batches": [list(batch) for batch in witness.batches],
        }
    return found


def _size(part: int) -> dict[str, Any]:
    if not find_spec("opacus"):
        return {}
    from dataset_size import size_audits

    return size_audits(2000 // part)


def _accountants(part: int) -> dict[str, Any]:
    from accountants import accountant_audits

    return {"rows": accountant_audits(50.0 / part)}


def _training(part: int) -> dict[str, Any]:
    if not find_spec("opacus"):
        return {}
    from whole_training import training_audits

    return {"rows": training_audits(200 // part)}


if __name__ == "__main__":
    main()
