"""Which arm a run belongs to: the private one, or one of the counterfactuals beside it."""

from __future__ import annotations

import math

from clifftop.lab.spec import RunSpec
from clifftop.vocabulary import Arm

_UNCLIPPED, _WHOLE_BATCH = ":Unclipped", ":WholeBatch"

ARM_SQL = f"""
CASE
    WHEN run.clip_norm IS NULL AND json_extract(run.spec, '$.plan.clipping."$kind"') LIKE '%{_UNCLIPPED}'
        THEN '{Arm.NOISE}'
    WHEN run.clip_norm IS NULL AND json_extract(run.spec, '$.plan.clipping."$kind"') LIKE '%{_WHOLE_BATCH}'
        THEN '{Arm.ORIGINAL}'
    WHEN run.noise_multiplier IS NOT 0 THEN '{Arm.BOTH}'
    WHEN run.clip_norm IS 9e999 THEN '{Arm.NEITHER}'
    ELSE '{Arm.CLIPPING}'
END
"""
"""A run's arm, as an SQL expression over the table ``run``: of stores of any age, nothing is imported."""


def arm_of(spec: RunSpec) -> Arm:
    """A run's arm."""
    kind = f":{type(spec.plan.clipping).__name__}"
    if spec.clip_norm is None and kind in (_UNCLIPPED, _WHOLE_BATCH):
        return Arm.NOISE if kind == _UNCLIPPED else Arm.ORIGINAL
    if spec.noise_multiplier != 0:
        return Arm.BOTH
    return Arm.NEITHER if spec.clip_norm is not None and math.isinf(spec.clip_norm) else Arm.CLIPPING
