"""`clifftop audit accountant`: check anybody's accountant against certified epsilons."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clifftop.cli.audit.factories import named
from clifftop.cli.audit.showing import Save, finish
from clifftop.cli.options import Json
from clifftop.events import NeighboringRelation

_Seconds = Annotated[float, Parameter(allow_leading_hyphen=True)]


def accountant(
    function: str,
    /,
    *,
    calibration: str | None = None,
    divergence: str | None = None,
    whole_orders: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
    budget_seconds: _Seconds = 4.0,
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
        budget_seconds: of CPU; a slow accountant is asked less, which is said.
        save: a folder of runs that keeps the audit; `clifftop report` shows it there.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.audit.accounts import ORDERS, check_accountant

    report = check_accountant(
        named(function),
        noise_of=None if calibration is None else named(calibration),
        divergence_of=None if divergence is None else named(divergence),
        orders=[order for order in ORDERS if order == round(order) or not whole_orders],
        relation=neighboring_relation,
        budget_seconds=budget_seconds,
    )
    return finish(report.document(function), as_json=as_json, save=save)
