"""Differentially private training for PyTorch with the whole privacy-utility frontier in view.

Names are loaded when first used, so that accounting starts without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.accounting import Bound, epsilon
    from clifftop.capture import PrivateStep
    from clifftop.checks import NoChecks, NotPrivate, check
    from clifftop.clipping import Automatic, Flat, PerLayer
    from clifftop.criteria import cross_entropy
    from clifftop.events import NeighboringRelation
    from clifftop.gradients import GraphEngine, LoopEngine, TapeEngine, UnsupportedModule, VmapEngine
    from clifftop.lab import Factory, OptimizerSpec, RunSpec, Store, run_sweep
    from clifftop.noise import Gaussian, Keyed, Secure
    from clifftop.parallel import DataParallel
    from clifftop.plan import PrivacyPlan
    from clifftop.sampling import FixedOrder, Poisson
    from clifftop.studies import Axes, run_study
    from clifftop.training import Trainer

__version__ = "0.1.0"

_HOMES = {
    "Automatic": "clipping",
    "Axes": "studies",
    "Bound": "accounting",
    "DataParallel": "parallel",
    "Factory": "lab",
    "FixedOrder": "sampling",
    "Flat": "clipping",
    "Gaussian": "noise",
    "GraphEngine": "gradients",
    "Keyed": "noise",
    "LoopEngine": "gradients",
    "NeighboringRelation": "events",
    "NoChecks": "checks",
    "NotPrivate": "checks",
    "OptimizerSpec": "lab",
    "PerLayer": "clipping",
    "Poisson": "sampling",
    "PrivacyPlan": "plan",
    "PrivateStep": "capture",
    "RunSpec": "lab",
    "Secure": "noise",
    "Store": "lab",
    "TapeEngine": "gradients",
    "Trainer": "training",
    "UnsupportedModule": "gradients",
    "VmapEngine": "gradients",
    "check": "checks",
    "cross_entropy": "criteria",
    "epsilon": "accounting",
    "run_study": "studies",
    "run_sweep": "lab",
}

__getattr__ = names_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "Automatic",
    "Axes",
    "Bound",
    "DataParallel",
    "Factory",
    "FixedOrder",
    "Flat",
    "Gaussian",
    "GraphEngine",
    "Keyed",
    "LoopEngine",
    "NeighboringRelation",
    "NoChecks",
    "NotPrivate",
    "OptimizerSpec",
    "PerLayer",
    "Poisson",
    "PrivacyPlan",
    "PrivateStep",
    "RunSpec",
    "Secure",
    "Store",
    "TapeEngine",
    "Trainer",
    "UnsupportedModule",
    "VmapEngine",
    "check",
    "cross_entropy",
    "epsilon",
    "run_study",
    "run_sweep",
]
