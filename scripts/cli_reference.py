"""Write the help of every command into docs/cli.md, between its markers.

Usage: python scripts/cli_reference.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from clifftop.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
_BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z ]*) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def help_text(command: str) -> str:
    """The help of ``command`` (empty: of all), as plain text 100 columns wide."""
    stream = io.StringIO()
    console = Console(file=stream, width=100, color_system=None)
    app.help_print(command.split(), console=console)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).strip("\n")


def filled(page: str) -> str:
    """``page`` with each marked block replaced by the help of its command."""
    return _BLOCK.sub(
        lambda match: f"{match[1]}```text\n{help_text(match['command'])}\n```\n{match[3]}",
        page,
    )


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
