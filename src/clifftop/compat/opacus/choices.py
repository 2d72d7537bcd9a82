"""What scripts choose by words, as values; words that nothing stands behind are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

_AVERAGED = {"mean": True, "sum": False}
_RETURNS_CRITERION = {"hooks": False, "functorch": False, "ew": False, "no_op": False, "ghost": True}


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a script says of its loop.

    Attributes:
        averaged: its loss is the mean of the examples' losses.
        returns_criterion: it expects its criterion back.
    """

    averaged: bool
    returns_criterion: bool

    @classmethod
    def of(
        cls,
        *,
        loss_reduction: str,
        clipping: str,
        grad_sample_mode: str,
        rand_on_empty: bool,
        max_grad_norm: object,
        batch_first: bool,
    ) -> Loop:
        """The values that the words stand for.

        Raises:
            ValueError: a word that is not known, or something that has no private step here.
        """
        _require_known("loss_reduction", loss_reduction, tuple(_AVERAGED))
        _require_known("grad_sample_mode", grad_sample_mode, tuple(_RETURNS_CRITERION))
        if clipping != "flat" or not isinstance(max_grad_norm, (int, float)):
            raise ValueError(
                f"clipping must be 'flat' with one max_grad_norm, found clipping={clipping!r} and "
                f"max_grad_norm={max_grad_norm!r}; bound the norm of an example's whole gradient"
            )
        if rand_on_empty:
            raise ValueError(
                "rand_on_empty must be False, found True: a made-up example in an empty batch doubles what "
                "one example can change; leave it out, empty batches take their step inside the loader"
            )
        if not batch_first:
            raise ValueError(
                "batch_first must be True, found False: examples lie on the first axis of what the module "
                "takes and gives; transpose inside the module"
            )
        return cls(averaged=_AVERAGED[loss_reduction], returns_criterion=_RETURNS_CRITERION[grad_sample_mode])


def _require_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {name}={value!r}")
