"""One thread for audits: on small tensors idle threads cost ten times the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def one_thread() -> Generator[None, None, None]:
    """torch, if it is loaded, computes on one thread within; the caller's number of threads comes back."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_one_thread(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The function, within `one_thread`."""

    @wraps(function)
    def alone(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with one_thread():
            return function(*args, **kwargs)

    return alone
