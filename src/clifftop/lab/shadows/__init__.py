"""Shadow models: one setting trained on many random halves of its data, for attacks on membership."""

from clifftop.lab.shadows.halves import half_of, members, pool_of, shadow_spec
from clifftop.lab.shadows.train import Shadows, train_shadows

__all__ = ["Shadows", "half_of", "members", "pool_of", "shadow_spec", "train_shadows"]
