"""Exact checks of what lies beyond one step: preparation, restarts, charges, workers, reports, the search.

`check_training` takes any object that has some of the capabilities below, and says what it could not check.
`ours` makes one of Clifftop's own `Trainer`.
"""

from clifftop.audit.trainings.adapter import (
    Data,
    Distributed,
    HasAccountant,
    HasPublicNumbers,
    Prepares,
    RankedStep,
    RanksClaim,
    Reported,
    ReportsEpsilon,
    Runs,
    Trace,
    Tuned,
    Tunes,
    UnusableTraining,
)
from clifftop.audit.trainings.own import OwnTraining, ours
from clifftop.audit.trainings.preparation import check_preparation, check_public_numbers
from clifftop.audit.trainings.replay import check_runs
from clifftop.audit.trainings.reports import check_reported, check_training_accountant, check_tuning
from clifftop.audit.trainings.run import TrainingChecks, check_training
from clifftop.audit.trainings.workers import check_workers

__all__ = [
    "Data",
    "Distributed",
    "HasAccountant",
    "HasPublicNumbers",
    "OwnTraining",
    "Prepares",
    "RankedStep",
    "RanksClaim",
    "Reported",
    "ReportsEpsilon",
    "Runs",
    "Trace",
    "TrainingChecks",
    "Tuned",
    "Tunes",
    "UnusableTraining",
    "check_preparation",
    "check_public_numbers",
    "check_reported",
    "check_runs",
    "check_training",
    "check_training_accountant",
    "check_tuning",
    "check_workers",
    "ours",
]
