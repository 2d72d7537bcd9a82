"""One private step of a model with tables: the step of `clifftop.private_gradient`, over rows."""

from __future__ import annotations

from clifftop.flow import Batch, NoisySum, Params
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, StepRecord, Streams, Summing, private_gradient
from clifftop.tables.deferred import DeferredTables


def private_step(
    *,
    tables: DeferredTables,
    plan: PrivacyPlan,
    engine: GradientEngine,
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    state: PrivacyState,
    streams: Streams,
    diagnose: bool = True,
    microbatch_size: int | None = None,
    summing: Summing | None = None,
) -> tuple[NoisySum, PrivacyState, StepRecord | None]:
    """One private gradient; the tables have taken their step when it returns.

    The noise of the rows that the batch reads is in the private gradient, as ever; that of all other
    rows is noted, and added when they are read or flushed. Clip norms are those of the whole
    gradient, tables included.

    Args:
        tables: the model's tables.
        plan: as for `clifftop.private_gradient`, with `Gaussian` noise.
        engine: gives the per-example gradients.
        loss: the model and the criterion.
        params: all trainable parameters but the tables, ``(1, ...)`` each.
        batch: of one run.
        state: from `initial_state`, or the last step.
        streams: this step's random draws; not the ones that settle rows.
        diagnose: whether to measure what clipping and noise did; the record's noise is that of the
            other parameters and of the rows that were read.
        microbatch_size: as for `clifftop.private_gradient`.
        summing: as for `clifftop.private_gradient`.

    Returns:
        The noisy mean for ``params``, the next state, and the record (None unless diagnosed).

    Raises:
        ValueError: the noise of one step depends on other steps' noise, or ``params`` hold a table.
    """
    if not isinstance(plan.noise, Gaussian):
        raise ValueError(
            f"deferred noise must be independent from step to step, found {type(plan.noise).__name__}; "
            "use Gaussian, or build the tables with sparse=False"
        )
    if held := params.keys() & set(tables.names):
        raise ValueError(
            f"params must leave the tables out, found {sorted(held)}; a dense copy is what this step avoids"
        )
    rows = tables.begin(batch)
    with tables.reading():
        noisy, after, record = private_gradient(
            plan=plan,
            engine=engine,
            loss=tables.loss(loss),
            params=params | rows,
            batch=batch,
            state=state,
            streams=streams,
            diagnose=diagnose,
            microbatch_size=microbatch_size,
            summing=summing,
        )
    tables.apply({name: noisy.value[name] for name in rows}, float(noisy.noise_std[0]))
    rest = {name: value for name, value in noisy.value.items() if name not in rows}
    return NoisySum(value=rest, noise_std=noisy.noise_std), after, record
