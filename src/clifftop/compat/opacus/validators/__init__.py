"""Which modules cannot be private, and what takes their place."""

from clifftop.compat.opacus.validators.module_validator import ModuleValidator

__all__ = ["ModuleValidator"]
