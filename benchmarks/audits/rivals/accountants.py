"""Other libraries' accountants against certified intervals."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from clifftop.audit.accounts import AccountantReport, Setting, check_accountant
from clifftop.audit.accounts.settings import usual_settings

Epsilon = Callable[..., float]

LEAST_NOISE, DELTA = 0.5, 1e-5
FAR = (
    Setting(sampling_prob=0.01, noise_multiplier=1000.0, steps=10_000, delta=0.1),
    Setting(sampling_prob=1e-6, noise_multiplier=100.0, steps=1, delta=1e-12),
)
"""Hardly any privacy loss, which is where conversions go below zero."""


def practical_settings() -> tuple[Setting, ...]:
    """The usual grid without what no training uses: with less noise, accountants by FFT need gigabytes."""
    usual = [one for one in usual_settings() if one.noise_multiplier >= LEAST_NOISE and one.delta == DELTA]
    return (*FAR, *usual)


def opacus_accountant(name: str) -> Epsilon:
    """``RDPAccountant`` or ``PRVAccountant``, with its defaults."""
    from opacus.accountants import create_accountant

    def epsilon_of(*, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        accountant = create_accountant(mechanism=name)
        accountant.history = [(noise_multiplier, sampling_prob, steps)]
        return float(accountant.get_epsilon(delta=delta))

    return epsilon_of


def opake_accountant() -> Epsilon:
    """Its PLD accountant. Errors: TypeError on early releases of Python 3.11 and 3.12."""
    from opake.dpsgd import accounting

    def epsilon_of(*, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        step = accounting.gaussian(noise_multiplier)
        if sampling_prob < 1:
            step = accounting.poisson(step, sample_rate=sampling_prob)
        return float((step * steps).epsilon_at(delta))

    return epsilon_of


def google_accountant() -> Epsilon:
    """``dp_accounting``'s PLD accountant, which JAX Privacy uses."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    def epsilon_of(*, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        event = dp_accounting.GaussianDpEvent(noise_multiplier)
        if sampling_prob < 1:
            event = dp_accounting.PoissonSampledDpEvent(sampling_prob, event)
        return float(PLDAccountant().compose(event, steps).get_epsilon(delta))

    return epsilon_of


def clifftop_accountant() -> Epsilon:
    """Clifftop's upper end, which is what it reports."""
    from clifftop.accounting import epsilon
    from clifftop.events import NeighboringRelation

    def epsilon_of(**asked: Any) -> float:
        relation = NeighboringRelation.ADD_OR_REMOVE_ONE
        return epsilon(Setting(**asked).event, delta=asked["delta"], neighboring_relation=relation).upper

    return epsilon_of


ACCOUNTANTS: dict[str, tuple[str, Callable[[], Epsilon]]] = {
    "Opacus RDP": ("opacus", lambda: opacus_accountant("rdp")),
    "Opacus PRV": ("opacus", lambda: opacus_accountant("prv")),
    "opake PLD": ("opake", opake_accountant),
    "dp_accounting PLD": ("dp-accounting", google_accountant),
    "Clifftop": ("clifftop", clifftop_accountant),
}


def accountant_audits(budget_seconds: float) -> list[dict[str, Any]]:
    """Every accountant that can be imported here."""
    return [_audited(name, *found, budget_seconds=budget_seconds) for name, found in ACCOUNTANTS.items()]


def _audited(
    name: str, package: str, make: Callable[[], Epsilon], *, budget_seconds: float
) -> dict[str, Any]:
    started = time.process_time()
    row: dict[str, Any] = {"accountant": name}
    try:
        row["version"] = version(package)
        epsilon_of = make()
    except (ImportError, PackageNotFoundError, TypeError) as error:
        return row | {"not_run": f"{type(error).__name__}: {error}"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = check_accountant(epsilon_of, settings=practical_settings(), budget_seconds=budget_seconds)
    return row | _said(report) | {"cpu_seconds": round(time.process_time() - started, 1)}


def _said(report: AccountantReport) -> dict[str, Any]:
    return {
        "settings_asked": len(report.answers),
        "understates": report.understates,
        "passed": [check.name for check in report.checks if check.passed],
        "findings": [
            {"check": check.name, "found": check.found, "must_hold": check.must_hold}
            for check in report.findings
        ],
        "reported_over_truth": None if report.looseness is None else [round(x, 4) for x in report.looseness],
        "not_checked": list(report.not_checked),
    }
