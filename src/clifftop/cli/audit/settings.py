"""Settings that audits share, refused by name before anything is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from clifftop.cli.options import whole_number


def share_of(_: Any, tokens: Sequence[Token]) -> float:
    """A number between 0 and 1, neither included.

    >>> share_of(float, [Token(keyword="--level", value="1e-3")])
    0.001
    """
    text = tokens[0].value
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.0 < share < 1.0:
        raise ValueError(f"must be a number above 0 and below 1, found {text!r}.")
    return share


def seed_of(given: Any, tokens: Sequence[Token]) -> int:
    """A whole number from 0 on.

    >>> seed_of(int, [Token(keyword="--seed", value="7")])
    7
    """
    seed = whole_number(given, tokens)
    if seed < 0:
        raise ValueError(f"must be 0 or above, found {tokens[0].value!r}.")
    return seed


def folder_of(_: Any, tokens: Sequence[Token]) -> Path:
    """A folder that is there, or that can be made."""
    folder = Path(tokens[0].value)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise ValueError(f"must be a folder, found the file {str(there)!r}; name another.")
    if not os.access(there, os.W_OK):
        raise ValueError(f"must be a folder that can be written, found {str(there)!r}; name another.")
    return folder


def picture_of(given: Any, tokens: Sequence[Token]) -> Path:
    """A PNG file in a folder that is there, or that can be made."""
    path = Path(tokens[0].value)
    if path.suffix.lower() != ".png" or path.is_dir():
        raise ValueError(f"must be a file that ends in .png, found {str(path)!r}.")
    folder_of(given, [Token(value=str(path.parent))])
    return path


Share = Annotated[float, Parameter(converter=share_of, allow_leading_hyphen=True)]
"""A confidence or a level."""
Seed = Annotated[int, Parameter(converter=seed_of, allow_leading_hyphen=True)]
Save = Annotated[Path | None, Parameter(name="--save", converter=folder_of)]
"""The folder that keeps the audit."""
Picture = Annotated[Path | None, Parameter(converter=picture_of)]
"""A file that a plot is drawn into."""
