"""Why a module cannot be private."""

from __future__ import annotations

from clifftop.gradients import UnsupportedModule


class UnsupportedModuleError(UnsupportedModule):
    """A module that no step can make private."""


class ShouldReplaceModuleError(UnsupportedModuleError):
    """A module that `ModuleValidator.fix` replaces."""


class IllegalModuleConfigurationError(UnsupportedModuleError):
    """A module with a setting that keeps statistics of the data."""
