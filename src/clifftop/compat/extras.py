"""Packages that an optional extra brings, and the one line that a person reads without them."""

from __future__ import annotations

from importlib.util import find_spec


class MissingExtra(ImportError):
    """A part of Clifftop needs a package of an optional extra."""


def require_extra(package: str, *, extra: str) -> None:
    """Refuse to go on without ``package``.

    Raises:
        MissingExtra: it is not installed; the message names the extra that brings it.

    >>> require_extra("torch", extra="lightning")
    >>> require_extra("no_such_package", extra="lightning")
    Traceback (most recent call last):
    clifftop.compat.extras.MissingExtra: the package no_such_package must be installed, found that it is not; run: pip install 'clifftop[lightning]'
    """  # noqa: E501  the error is one line
    if find_spec(package) is None:
        raise MissingExtra(
            f"the package {package} must be installed, found that it is not; "
            f"run: pip install 'clifftop[{extra}]'"
        )
