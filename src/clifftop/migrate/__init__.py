"""What an Opacus script needs to run on Clifftop, and what was wrong with its epsilon. Reads the script only.

`rewrite` changes the import lines; `examine` finds what the old number rested on; `compare` computes the
old and the new epsilon where the script, or the caller, gives the numbers. The script is never run.
"""

from clifftop.migrate.claims import Comparison, compare
from clifftop.migrate.facts import Run, read_facts
from clifftop.migrate.findings import Finding, examine
from clifftop.migrate.imports import Change, Rewritten, rewrite

__all__ = [
    "Change",
    "Comparison",
    "Finding",
    "Rewritten",
    "Run",
    "compare",
    "examine",
    "read_facts",
    "rewrite",
]
