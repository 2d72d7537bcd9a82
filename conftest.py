"""What every test shares: one thread for small tensors, and no skip where its need is present."""

import gc
import os
from collections.abc import Generator
from typing import Any

import pytest

# Before torch is imported, and for the processes that tests start: on small tensors two threads of a
# busy machine mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Ten thousand collected tests and a dozen large packages are looked through at each full collection.
gc.set_threshold(50_000, 20, 20)

pytest_plugins = ("pytester",)  # the plugin's own tests run pytest within pytest

# Files that take longest, by seconds: begun first, so that no core is left with one of them at the end.
LONGEST_FIRST = (
    "test_ray.py",
    "test_conformance.py",
    "test_executors.py",
    "test_capturing.py",
    "test_study_killed.py",
    "test_parallel_training.py",
    "test_data_parallel.py",
    "test_end_to_end.py",
    "test_run_killed.py",
    "test_page_browser.py",
    "test_allocation.py",
    "test_sweep_command.py",
    "test_real_models.py",
    "test_sweep_killed.py",
)
# Folders whose files share what is dear to start (the server that ranks are forked from): one worker each.
ONE_WORKER = ("tests/parallel",)
REQUIRED_WHEN_SET = {"browser": "CLIFFTOP_REQUIRE_BROWSER", "data": "CLIFFTOP_REQUIRE_DATA"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else keeps its order."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out whole files, and some folders whole."""
    from xdist.scheduler import LoadFileScheduling

    class Whole(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return next((folder for folder in ONE_WORKER if file.startswith(f"{folder}/")), file)

    return Whole(config, log)


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
