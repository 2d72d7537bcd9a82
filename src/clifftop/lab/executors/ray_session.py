"""Ray itself: its package, a connection to a cluster or a cluster of our own, and silence."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clifftop.lab.executors.interrupts import interrupts_held
from clifftop.lab.jobs import ExecutorError, one_line

_OBJECT_STORE_BYTES = 256 << 20  # of a local cluster: only blocks pass through it
_CONNECT_SECONDS = 5.0  # Ray itself tries an address that nobody listens on for minutes

# Read by Ray when it is imported. The executor itself reports the deaths that Ray would print.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died|The node with node id|Raylet is terminated|memory pressure",
}


def import_ray() -> Any:
    """The package, or one line that says how to get it.

    Raises:
        ExecutorError: it is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ExecutorError(
            f"RayCluster needs the package ray, found no module {error.name}; "
            "run: pip install 'clifftop[ray]'"
        ) from error
    return ray


@contextmanager
def quiet_ray() -> Iterator[Any]:
    """The package, saying errors only, and nothing to its makers; settings that the user has made stay.

    Raises:
        ExecutorError: it is not installed.
    """
    added = {name: value for name, value in _QUIET.items() if name not in os.environ}
    os.environ.update(added)
    logger = logging.getLogger("ray")
    try:
        ray = import_ray()
        level = logger.level  # that importing it has set
        logger.setLevel(max(level, logging.ERROR))
        try:
            yield ray
        finally:
            logger.setLevel(level)
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def connected(ray: Any, address: str | None, *, slots: int) -> Iterator[None]:
    """A connection until the end of the block: to ``address``, ``RAY_ADDRESS``, or a cluster of our own.

    Args:
        ray: the package.
        address: of the cluster's head.
        slots: cores that a cluster of our own says it has, whatever the machine does.

    Raises:
        ExecutorError: nobody listens there, or Ray does not start.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=slots,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                configure_logging=False,
            )
        else:
            _probe(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        what = "must start on this machine" if address is None else f"must be running at address={address!r}"
        raise ExecutorError(f"a Ray cluster {what}, found {one_line(error)}; see 'ray status'") from error
    try:
        yield
    finally:
        with interrupts_held():  # a second Ctrl-C must not leave a process behind
            ray.shutdown()


def _probe(address: str) -> None:
    """Fail at once where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
