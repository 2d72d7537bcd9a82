"""A sweep as a results folder keeps it, whichever version of this package wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clifftop.codec import CodecError, decode
from clifftop.lab.sweep.base import Sweep

_LATER: Mapping[str, Any] = {"counterfactuals": False, "original_model": None, "per_layer": False}
"""Settings that the first version had not, and what it did."""


def sweep_from_json(text: str) -> Sweep:
    """The sweep whose canonical JSON this is, or was in an earlier version.

    Raises:
        CodecError: the text is no sweep of a version that is known.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise CodecError(f"the text must be JSON, found {text[:40]!r} ({error})") from error
    return decode({**_LATER, **data} if isinstance(data, dict) else data, Sweep)
