"""The private data loader under Opacus' name."""

from clifftop.compat.loop import PrivateDataLoader as DPDataLoader

__all__ = ["DPDataLoader"]
