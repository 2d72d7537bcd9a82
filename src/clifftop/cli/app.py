"""The table of commands."""

from __future__ import annotations

from cyclopts import App

from clifftop import __version__
from clifftop.cli.audit import audit
from clifftop.cli.calibrate import calibrate
from clifftop.cli.card import card
from clifftop.cli.compare import compare
from clifftop.cli.curve import curve
from clifftop.cli.epsilon import epsilon
from clifftop.cli.migrate import migrate
from clifftop.cli.plan import plan
from clifftop.cli.report import report
from clifftop.cli.runs import runs
from clifftop.cli.show import show
from clifftop.cli.statement import statement
from clifftop.cli.store import store
from clifftop.cli.study import study
from clifftop.cli.sweep import sweep
from clifftop.cli.transfer import transfer
from clifftop.cli.tune import tune
from clifftop.cli.validate import validate

app = App(
    name="clifftop",
    help="Differentially private training with the whole privacy-utility frontier in view.",
    version=f"clifftop {__version__}",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _command in (
    study,
    sweep,
    tune,
    epsilon,
    calibrate,
    curve,
    statement,
    validate,
    report,
    migrate,
    runs,
    show,
    plan,
    transfer,
    card,
    compare,
):
    app.command(_command)
app.command(store)
app.command(audit)
