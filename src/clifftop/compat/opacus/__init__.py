"""The names of Opacus over Clifftop's private steps and accountant.

A script runs with its import lines changed: ``from opacus import PrivacyEngine`` becomes
``from clifftop.compat.opacus import PrivacyEngine``, and modules below keep their paths.
``clifftop migrate script.py`` changes the lines, and says what was wrong with the old epsilon.
"""

from clifftop.compat.opacus import utils
from clifftop.compat.opacus.grad_sample import GradSampleModule
from clifftop.compat.opacus.privacy_engine import PrivacyEngine

__all__ = ["GradSampleModule", "PrivacyEngine", "utils"]
