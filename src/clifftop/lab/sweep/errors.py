"""What is said of a sweep that cannot be: the setting, what must hold, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from clifftop.lab.spec import SpecError


class SweepFault(SpecError):
    """A setting of a sweep that cannot be.

    Attributes:
        key: the setting, as `clifftop.lab.sweep.Sweep` names it, such as ``axes.lr``.
        problem: what must hold, what was found, what to do.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem

    def renamed(self, key: str) -> SweepFault:
        """The same fault under the name that a file has for the setting."""
        return SweepFault(key, self.problem)


class SweepFileError(ValueError):
    """A sweep file that describes no sweep; one line with the file, the key and the remedy."""


READERS = "clifftop.datasets.readers"
"""Where ``[data] reader = "csv"`` looks for it."""


def factory_key(part: str, target: str) -> str:
    """The key of a factory: ``model.factory``, or ``data.reader`` if the target is one of the readers.

    >>> factory_key("model", "net:build"), factory_key("data", f"{READERS}:csv")
    ('model.factory', 'data.reader')
    """
    if part not in ("model", "data", "original_model"):
        return part
    return f"{part}.{'reader' if target.startswith(f'{READERS}:') else 'factory'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'lr'?``, or nothing if no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def told(error: BaseException) -> str:
    """An exception's type and text in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
