"""``torch.func.vmap`` without the warning that an operation is mapped by a slow but exact loop."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def slow_operations_allowed() -> Iterator[None]:
    """Silence PyTorch's hint that ``vmap`` runs an operation once an example: exact, only slower."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        yield
