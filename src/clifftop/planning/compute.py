"""How much gradient work there is to spend, in the one unit that the laws use: gradients of one example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from clifftop.events.base import is_number, require_count, require_positive

FLOP_PER_PARAMETER = 6.0
"""Of one example's gradient: two a weight forwards, four backwards (Kaplan and others 2020, "Scaling laws for
neural language models", section 2.1). It counts every weight once an example, so a convolution, which uses
a weight at many places, costs more; then the model's own number should be given."""
REFERENCE_FLOP = 2.4e6
"""Of one example's gradient in the 26,010-parameter network of two convolutions that published work trains on
28 x 28 images (Papernot and others 2021, "Tempered sigmoid activations"): six times its 394,000
multiplications with additions forwards (two FLOP forwards, four backwards)."""
MOST_EPOCHS = 200
"""Where a plan stops by itself: Sander and others 2023 train CIFAR-10 from scratch for 2500 steps of 4096 of
50,000 examples, 205 epochs, and few published private trainings are longer."""


@final
@dataclass(frozen=True, kw_only=True)
class Compute:
    """What training may cost.

    Attributes:
        example_gradients: steps times expected batch size, a whole number >= 1.
        source: where the number comes from, in a few words.
        assumed: what was assumed on the way and should be checked; empty where nothing was.

    Errors: ValueError for fewer than one gradient.
    """

    example_gradients: int
    source: str
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_count("example_gradients", self.example_gradients)
        if self.example_gradients < 1:
            raise ValueError(
                "the compute must pay for at least one gradient of one example, found "
                f"example_gradients={self.example_gradients}; plan with more compute"
            )

    @classmethod
    def of_example_gradients(cls, count: int) -> Compute:
        """So many gradients of one example.

        >>> Compute.of_example_gradients(600_000).example_gradients
        600000
        """
        return cls(example_gradients=count, source="example gradients as given")

    @classmethod
    def of_epochs(cls, epochs: float, *, num_examples: int) -> Compute:
        """So many passes over the data; a float stands for the decimal that it prints as.

        >>> Compute.of_epochs(2.5, num_examples=1000).example_gradients
        2500
        """
        require_positive("epochs", epochs, advice="count passes over the data")
        require_examples(num_examples)
        count = int(Fraction(repr(epochs)) * num_examples)
        return cls(example_gradients=count, source=f"{epochs:g} epochs")

    @classmethod
    def of_flop(
        cls, flop: float, *, flop_per_example: float | None = None, parameters: int | None = None
    ) -> Compute:
        """So many floating-point operations, at ``flop_per_example`` for one example's gradient.

        Without that number it is `FLOP_PER_PARAMETER` times ``parameters``, and without both that of a
        small reference network (`REFERENCE_FLOP`); what was assumed is said.

        >>> Compute.of_flop(1e12, flop_per_example=1e6).example_gradients
        1000000
        >>> Compute.of_flop(1.2e12, parameters=1000).assumed
        ('6 FLOP a parameter and example: true of dense layers, too little for convolutions and attention',)
        """
        require_positive("compute", flop, advice="pass the floating-point operations that training may take")
        if flop_per_example is not None:
            require_positive("flop_per_example", flop_per_example, advice="count one example's gradient")
            return cls(example_gradients=int(flop / flop_per_example), source=f"{flop:g} FLOP")
        if parameters is not None:
            require_parameters(parameters)
            cost, assumed = FLOP_PER_PARAMETER * parameters, _BY_PARAMETERS
        else:
            cost, assumed = REFERENCE_FLOP, _BY_REFERENCE
        return cls(example_gradients=int(flop / cost), source=f"{flop:g} FLOP", assumed=(assumed,))

    def at_most(self, epochs: float, *, num_examples: int) -> Compute:
        """This, or ``epochs`` passes over the data if they cost less.

        >>> little = Compute.of_example_gradients(10**9).at_most(10, num_examples=60_000)
        >>> little.example_gradients, little.source
        (600000, 'example gradients as given, cut to 10 epochs')
        """
        most = Compute.of_epochs(epochs, num_examples=num_examples)
        if self.example_gradients <= most.example_gradients:
            return self
        return Compute(
            example_gradients=most.example_gradients,
            source=f"{self.source}, cut to {most.source}",
            assumed=self.assumed,
        )


_BY_PARAMETERS = (
    "6 FLOP a parameter and example: true of dense layers, too little for convolutions and attention"
)
_BY_REFERENCE = (
    f"{REFERENCE_FLOP:g} FLOP an example, those of a small convolutional network; pass those of your model"
)


def require_examples(value: object) -> None:
    """Errors: ValueError unless ``value`` is a whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"num_examples must be a whole number >= 1, found num_examples={value!r}; "
            "pass the public size of the data set"
        )


def require_parameters(value: object) -> None:
    """Errors: ValueError unless ``value`` is a whole number >= 1."""
    if not (is_number(value) and isinstance(value, int) and 1 <= value < math.inf):
        raise ValueError(
            f"parameters must be a whole number >= 1, found parameters={value!r}; "
            "count the model's trainable parameters"
        )
