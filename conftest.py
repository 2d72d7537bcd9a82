"""What every test shares: one thread for small tensors, and no skip where its need is present."""

import os
from collections.abc import Generator

import pytest

# Before torch is imported, and for the processes that tests start: on small tensors two threads of a
# busy machine mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REQUIRED_WHEN_SET = {"browser": "CLIFFTOP_REQUIRE_BROWSER", "data": "CLIFFTOP_REQUIRE_DATA"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a `browser` or `data` test into a failure where its variable is set."""
    report = yield
    for marker, variable in REQUIRED_WHEN_SET.items():
        if report.skipped and item.get_closest_marker(marker) and os.environ.get(variable):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} skipped although {variable} is set: {report.longrepr}"
    return report
