"""`clifftop epsilon`: the privacy of a training run from its public facts, without torch."""

from __future__ import annotations

from dataclasses import asdict

from clifftop.cli.mechanism import relation_for, training_event
from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line
from clifftop.events import NeighboringRelation


def epsilon(
    *,
    noise_multiplier: float,
    delta: float,
    sampling_prob: float | None = None,
    steps: int | None = None,
    fixed_order: int | None = None,
    neighboring_relation: NeighboringRelation | None = None,
    as_json: Json = False,
) -> int:
    """Bound epsilon for DP-SGD with Gaussian noise.

    With Poisson sampling: `clifftop epsilon --noise-multiplier 1 --sampling-prob 0.16 --steps 140
    --delta 1e-5`. With batches in a fixed order, 20 epochs: `clifftop epsilon --noise-multiplier 1
    --fixed-order 20 --delta 1e-5`.

    Args:
        noise_multiplier: standard deviation of the noise over the clip norm.
        delta: the other half of the guarantee, between 0 and 1.
        sampling_prob: probability that a batch holds an example: expected batch size / examples.
        steps: noisy steps in all.
        fixed_order: in place of the two before: batches in a fixed order, never resampled, each example
            in this many of them (once an epoch: the number of epochs).
        neighboring_relation: which data sets are compared; by default one example more or less for
            Poisson sampling, one example zeroed out for a fixed order.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.accounting import epsilon as bound_epsilon
    from clifftop.report.wording import epsilon_up

    event = training_event(
        noise_multiplier, sampling_prob=sampling_prob, steps=steps, fixed_order=fixed_order
    )
    relation = relation_for(neighboring_relation, fixed_order=fixed_order)
    bound = bound_epsilon(event, delta=delta, neighboring_relation=relation)
    if as_json:
        facts = {"delta": delta, "neighboring_relation": relation.value, "event": repr(event)}
        print_json(asdict(bound) | facts)
    else:
        print_line(f"epsilon <= {epsilon_up(bound.upper)} at delta = {delta:g} ({relation.value})")
        print_line(f"true value between {bound.lower} and {bound.upper} ({bound.method})")
    return 0
