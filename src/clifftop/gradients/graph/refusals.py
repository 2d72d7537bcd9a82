"""Why the graph engine steps aside, or refuses."""

from clifftop.gradients.base import UnsupportedModule


class GraphUnsuited(UnsupportedModule):
    """The graph does not show what this engine must see; another engine may still be exact."""


class ExamplesMixed(UnsupportedModule):
    """Examples influence each other: no engine helps."""


class Poisoned(ArithmeticError):
    """One example's NaN may have reached others: this batch needs an engine that keeps examples apart."""
