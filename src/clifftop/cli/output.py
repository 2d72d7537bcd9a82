"""What commands print on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


_NEVER_CUT = 1000


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document. An infinite number is the string ``"inf"``: JSON has no infinity."""
    from clifftop.analysis.jsonio import dumps

    sys.stdout.write(dumps(document).decode())


def print_line(line: str) -> None:
    """Print one line of a result."""
    sys.stdout.write(f"{line}\n")


def print_table(table: RenderableType) -> None:
    """Print a table of rich: as wide as the terminal, and never cut where there is none."""
    from rich.console import Console

    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _NEVER_CUT).print(table)
