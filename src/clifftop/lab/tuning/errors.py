"""What can go wrong with a tuning."""

from __future__ import annotations


class TuneError(Exception):
    """A tuning that cannot be done, or cannot go on, as asked; one line that says what to do."""
