"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False)]
"""``--json``: one document on standard output; there is no ``--no-json``."""

ValueList = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
"""A list for `clifftop.cli.values`; ``-1,2`` must reach the library to be refused by name."""
