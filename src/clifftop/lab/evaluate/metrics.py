"""What a metric's factory names: a per-example score, or a score of many examples at once."""

from __future__ import annotations

from functools import partial

from clifftop.criteria import ClippingScore, SetScore
from clifftop.gradients import Criterion
from clifftop.lab.spec import Factory, SpecError

Metric = Criterion | SetScore | ClippingScore


def build_metric(factory: Factory) -> Metric:
    """The score that a factory names.

    A class of `SetScore` or `ClippingScore` is made with the factory's options, an object of one stands for
    itself, and any other callable is a per-example score, whose options are bound as keyword arguments.

    Raises:
        SpecError: no such callable, or one that does not take its options.
    """
    found = factory.resolve()
    if isinstance(found, type) and issubclass(found, SetScore | ClippingScore):
        try:
            return found(**factory.options)
        except (TypeError, ValueError) as error:
            raise SpecError(
                f"{factory.target} must take its options, found {dict(factory.options)} ({error}); mend them"
            ) from error
    if isinstance(found, SetScore | ClippingScore):
        if factory.options:
            raise SpecError(
                f"{factory.target} must have no options, found {dict(factory.options)}; it is an object made "
                "already: name a class of scores, or make another object"
            )
        return found
    return partial(found, **factory.options) if factory.options else found
