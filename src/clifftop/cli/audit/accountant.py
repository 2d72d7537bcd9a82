"""`clifftop audit accountant`: check anybody's accountant against certified epsilons."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from clifftop.cli.audit.factories import named
from clifftop.cli.audit.settings import Save
from clifftop.cli.audit.showing import finish
from clifftop.cli.audit.telling import told
from clifftop.cli.durations import Duration
from clifftop.cli.options import Json
from clifftop.events import NeighboringRelation

_USUAL = {"sampling_prob": 0.01, "noise_multiplier": 1.0, "steps": 1000, "delta": 1e-5}
"""A setting that any accountant of sampled Gaussian releases knows."""


def accountant(
    function: str,
    /,
    *,
    calibration: str | None = None,
    divergence: str | None = None,
    whole_orders: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
    budget: Duration = 4.0,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Check an accountant's epsilons against intervals that are proven; 1 if one is below the truth.

    MODULE:CALLABLE is called with the keywords sampling_prob, noise_multiplier, steps and delta and gives
    epsilon: `clifftop audit accountant my_accounting:epsilon`. Exact, without statistics; how loose it is
    is reported and fails nothing. Passing is no proof: between what is asked anything may happen.

    Args:
        function: MODULE:CALLABLE; modules of this folder are found too.
        calibration: MODULE:CALLABLE that gives the noise multiplier for target_epsilon, sampling_prob, steps
            and delta.
        divergence: MODULE:CALLABLE that gives the Renyi divergence of one release for order, sampling_prob
            and noise_multiplier.
        whole_orders: ask for divergences at whole orders alone.
        neighboring_relation: the pairs of data sets that the accountant claims to protect.
        budget: CPU time, such as 4s or 1m; a slow accountant is asked less, which is said.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    with told(f"asking {function}"):
        from clifftop.audit.accounts import ORDERS, check_accountant

        asked = named(function)
        _ask_first(function, asked, _USUAL)
        report = check_accountant(
            asked,
            noise_of=_optional(calibration, {**_USUAL, "target_epsilon": 3.0}, without="noise_multiplier"),
            divergence_of=_optional(divergence, {**_USUAL, "order": 8}, without="steps delta"),
            orders=[order for order in ORDERS if order == round(order) or not whole_orders],
            relation=neighboring_relation,
            budget_seconds=budget,
        )
    return finish(report.document(function), as_json=as_json, save=save)


def _optional(target: str | None, setting: Mapping[str, float], *, without: str) -> Callable[..., Any] | None:
    if target is None:
        return None
    asked = named(target)
    left = without.split()
    _ask_first(target, asked, {name: value for name, value in setting.items() if name not in left})
    return asked


def _ask_first(target: str, asked: Callable[..., Any], setting: Mapping[str, float]) -> None:
    """One question at a usual setting: what has no answer there is no accountant, rather than a false one.

    Raises:
        ValueError: it is called by other names, or gives no number.
        BrokenSubject: it raised an error.
    """
    call = ", ".join(f"{name}={value:g}" for name, value in setting.items())
    try:
        inspect.signature(asked).bind(**setting)
    except TypeError as error:
        raise ValueError(
            f"{target} must take the keywords of ({call}), found: {error}; name its arguments so"
        ) from error
    except ValueError:  # a builtin without a signature; the call will tell
        pass
    answer = asked(**setting)
    try:
        float(answer)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{target} must give a number, found {type(answer).__name__} for ({call}); return a float"
        ) from error
