"""`clifftop calibrate`: the least noise for a target epsilon, without torch."""

from __future__ import annotations

from clifftop.cli.mechanism import relation_for, training_event
from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line
from clifftop.events import DpEvent, NeighboringRelation


def calibrate(
    *,
    target_epsilon: float,
    delta: float,
    sampling_prob: float | None = None,
    steps: int | None = None,
    fixed_order: int | None = None,
    neighboring_relation: NeighboringRelation | None = None,
    as_json: Json = False,
) -> int:
    """Find the least noise multiplier whose certified epsilon meets a target.

    With Poisson sampling: `clifftop calibrate --target-epsilon 3 --sampling-prob 0.01 --steps 10000
    --delta 1e-5`. With batches in a fixed order, 20 epochs: `clifftop calibrate --target-epsilon 3
    --fixed-order 20 --delta 1e-5`.

    Args:
        target_epsilon: epsilon that the run may cost; the noise found never costs more.
        delta: the other half of the guarantee, between 0 and 1.
        sampling_prob: probability that a batch holds an example: expected batch size / examples.
        steps: noisy steps in all.
        fixed_order: in place of the two before: batches in a fixed order, never resampled, each example
            in this many of them (once an epoch: the number of epochs).
        neighboring_relation: which data sets are compared; by default one example more or less for
            Poisson sampling, one example zeroed out for a fixed order.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.accounting import calibrate_noise_multiplier, epsilon

    def event(noise_multiplier: float) -> DpEvent:
        return training_event(
            noise_multiplier, sampling_prob=sampling_prob, steps=steps, fixed_order=fixed_order
        )

    relation = relation_for(neighboring_relation, fixed_order=fixed_order)
    found = calibrate_noise_multiplier(
        event, target_epsilon=target_epsilon, target_delta=delta, neighboring_relation=relation
    )
    bound = epsilon(event(found), delta=delta, neighboring_relation=relation)
    if as_json:
        facts = {
            "noise_multiplier": found,
            "epsilon": bound,
            "delta": delta,
            "target_epsilon": target_epsilon,
        }
        print_json(facts | {"neighboring_relation": relation.value, "event": repr(event(found))})
    else:
        print_line(f"noise multiplier {found!r} ({relation.value})")
        print_line(
            f"true epsilon between {bound.lower} and {bound.upper} at delta = {delta:g} ({bound.method})"
        )
    return 0
