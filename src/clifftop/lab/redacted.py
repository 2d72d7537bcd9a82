"""What may be shown of a stored spec: all but what its random numbers can be drawn from again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_secrets(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec's JSON without a noise seed of its own, and with no more of its streams than kind and switches.

    Whoever knows the rest can take the noise off a released model.

    >>> without_secrets({"steps": 5, "noise_seed": 7, "streams": {"$kind": "m:Streams", "secret": 9}})
    {'steps': 5, 'streams': {'$kind': 'm:Streams'}}
    """
    shown = {name: value for name, value in spec.items() if name != "noise_seed" or value is None}
    streams = spec.get("streams")
    if isinstance(streams, dict):
        shown["streams"] = {
            name: value for name, value in streams.items() if name == "$kind" or isinstance(value, bool)
        }
    return shown
