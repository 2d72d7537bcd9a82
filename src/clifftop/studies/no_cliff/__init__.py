"""The published study at the heart of the project, and the same question asked properly."""

from clifftop.studies.no_cliff.presets import NO_CLIFF, NO_CLIFF_ANSWERED, NO_CLIFF_SOUND

__all__ = ["NO_CLIFF", "NO_CLIFF_ANSWERED", "NO_CLIFF_SOUND"]
