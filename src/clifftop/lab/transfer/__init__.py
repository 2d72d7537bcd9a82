"""Tuning on a public proxy: its best settings are trained once on the target; and what that loses."""

from clifftop.lab.transfer.carry import Carried, Keep, Lr, Rules, choose
from clifftop.lab.transfer.regret import Regret, transfer_regret
from clifftop.lab.transfer.results import Reached, Results, TransferError, read_results
from clifftop.lab.transfer.training import Transferred, TransferredRun, transfer

__all__ = [
    "Carried",
    "Keep",
    "Lr",
    "Reached",
    "Regret",
    "Results",
    "Rules",
    "TransferError",
    "Transferred",
    "TransferredRun",
    "choose",
    "read_results",
    "transfer",
    "transfer_regret",
]
