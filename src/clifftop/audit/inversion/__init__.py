"""Gradient inversion: what one private step shows of the example in it, and the most that it can show.

`release` makes what a step hands out, an `Attack` turns it into inputs and labels, `reconstruction_curve`
does it at many levels of noise. `reconstruction_bound` holds for every attack; `influence` says what small
noise costs the attacks that match gradients. **Failing to invert says nothing about epsilon.**
"""

from clifftop.audit.inversion.attack import (
    Attack,
    CannotInvert,
    Progress,
    Reconstruction,
    matching_loss,
)
from clifftop.audit.inversion.bounds import hit_probability, reconstruction_bound
from clifftop.audit.inversion.closed_form import ClosedForm, RankOne
from clifftop.audit.inversion.curve import (
    CurveProgress,
    ReconstructionCurve,
    ReconstructionRow,
    reconstruction_curve,
)
from clifftop.audit.inversion.influence import Influence, influence
from clifftop.audit.inversion.labels import inferred_labels
from clifftop.audit.inversion.matching import CosineMatching, Dlg, total_variation
from clifftop.audit.inversion.measures import (
    Identification,
    aligned,
    cosine,
    mean_squared_error,
    nearest,
    peak_signal_to_noise,
)
from clifftop.audit.inversion.model import (
    AttackedModel,
    Gradient,
    Release,
    one_step_plan,
    release,
    release_each,
)

__all__ = [
    "Attack",
    "AttackedModel",
    "CannotInvert",
    "ClosedForm",
    "CosineMatching",
    "CurveProgress",
    "Dlg",
    "Gradient",
    "Identification",
    "Influence",
    "Progress",
    "RankOne",
    "Reconstruction",
    "ReconstructionCurve",
    "ReconstructionRow",
    "Release",
    "aligned",
    "cosine",
    "hit_probability",
    "inferred_labels",
    "influence",
    "matching_loss",
    "mean_squared_error",
    "nearest",
    "one_step_plan",
    "peak_signal_to_noise",
    "reconstruction_bound",
    "reconstruction_curve",
    "release",
    "release_each",
    "total_variation",
]
