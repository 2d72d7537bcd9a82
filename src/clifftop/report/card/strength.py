"""How much a guarantee is worth, by the tiers of Ponomareva et al. 2023."""

from __future__ import annotations

STRONG, REASONABLE = 1.0, 10.0


def tier(epsilon: float) -> str:
    """The tier of an epsilon, for people.

    >>> tier(1.0), tier(1.1), tier(10.1)
    ('strong (epsilon at most 1)', 'reasonable (epsilon at most 10)', 'weak or none (epsilon above 10)')
    """
    if epsilon <= STRONG:
        return f"strong (epsilon at most {STRONG:g})"
    if epsilon <= REASONABLE:
        return f"reasonable (epsilon at most {REASONABLE:g})"
    return f"weak or none (epsilon above {REASONABLE:g})"


def cautions(epsilon: float, *, delta: float, num_examples: int | None) -> str:
    """What must be said beside a price, each sentence after a space; nothing for a sound one."""
    said = ""
    if epsilon > REASONABLE:
        said += f" WARNING: an epsilon above {REASONABLE:g} is a weak guarantee or none."
    if num_examples is not None and delta * num_examples >= 1.0:
        said += (
            f" WARNING: delta is not below 1 over the {num_examples:,} rows, so that the guarantee allows to "
            "publish some rows outright."
        )
    return said
