"""The laws of the number of trials by the names that people give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clifftop.accounting.selection_bounds import SelectionLaw
from clifftop.events import NegativeBinomialTrials, PoissonTrials

LAWS: Mapping[str, Callable[[float], SelectionLaw]] = {
    "geometric": lambda mean: NegativeBinomialTrials(mean=mean),
    "logarithmic": lambda mean: NegativeBinomialTrials(mean=mean, shape=0.0),
    "poisson": PoissonTrials,
}


def law_named(name: str, mean: float) -> SelectionLaw:
    """The law of a name and a mean.

    Raises:
        ValueError: no such name, or no such mean.

    >>> law_named("logarithmic", 10)
    NegativeBinomialTrials(mean=10, shape=0.0)
    """
    if name not in LAWS:
        raise ValueError(f"law must be one of {', '.join(LAWS)}, found law={name!r}; choose one")
    return LAWS[name](mean)


def law_words(trials: SelectionLaw) -> str:
    """The law, as part of a sentence."""
    match trials:
        case PoissonTrials(mean=mean):
            return f"Poisson with mean {mean:g} (with none, nothing is released)"
        case NegativeBinomialTrials(mean=mean, shape=1):
            return f"geometric with mean {mean:g}"
        case NegativeBinomialTrials(mean=mean, shape=0):
            return f"logarithmic with mean {mean:g}"
        case NegativeBinomialTrials(mean=mean, shape=shape):
            return f"truncated negative binomial with mean {mean:g} and shape {shape:g}"
