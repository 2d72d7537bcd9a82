"""Accounting starts without torch."""

import subprocess
import sys


def test_accounting_needs_numpy_and_scipy_alone() -> None:
    code = (
        "import sys, clifftop.accounting; "
        "print([m for m in ('torch', 'polars', 'altair', 'mpmath', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
