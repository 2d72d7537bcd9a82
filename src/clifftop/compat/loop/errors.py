"""What a loop may not do."""


class LoopError(ValueError):
    """The loop does something whose cost is not known, or whose gradients are not per example."""
