"""Reaching a Ray cluster, or starting an instance on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

from automl.errors import ClusterError, Raised, UsageError, attempt, install_command

#: How long a cluster is waited for that does not answer.
REACH_SECONDS: Final = 15.0
_LOOPBACK: Final = "127.0.0.1"


def check_ray(purpose: str) -> None:
    """Check that Ray is installed.

    Args:
        purpose: What needs it, for the message: "a sweep on a cluster".

    Raises:
        UsageError: It is not; says what to install.
    """
    if find_spec("ray") is None:
        raise UsageError(f"{purpose} needs Ray: {install_command('ray')}")


@contextlib.contextmanager
def connected(address: str, cpus: int = 0) -> Iterator[None]:
    """Be connected to Ray until the block ends.

    A program that is connected already stays so, whatever the address.

    Args:
        address: "auto" for the cluster that this machine is of (or RAY_ADDRESS), an address, or
            "local" for an instance of its own, which listens on this machine alone and ends with
            the block.
        cpus: The least that an instance of our own offers; 0 for as many as the machine has.

    Raises:
        ClusterError: It cannot be reached; says how long it was tried.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    start = time.monotonic()
    _connect(address, start, cpus)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str, start: float, cpus: int) -> None:
    import ray

    given: dict[str, Any] = {
        "address": address,
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    if address == "local":
        offered = max(cpus, os.cpu_count() or 1)
        given |= {"include_dashboard": False, "_node_ip_address": _LOOPBACK, "num_cpus": offered}
    else:
        if address == "auto":
            given["address"] = address = _running_here(start)
        _probe(address, start)
        if address.rpartition(":")[0] in (_LOOPBACK, "localhost"):
            given["_node_ip_address"] = _LOOPBACK
    with _on_loopback() if address == "local" else contextlib.nullcontext():
        answer = attempt(lambda: ray.init(**given))
    if isinstance(answer, Raised):
        if isinstance(answer.error, SystemExit):  # what Ray does where a cluster does not answer
            answer = Raised(ConnectionError("it does not answer"))
        reason = str(answer.error).strip().splitlines() or [type(answer.error).__name__]
        raise _unreachable(address, start, reason[0]) from answer.error


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Have an instance that is started meanwhile listen on 127.0.0.1 alone.

    Ray puts the address by which others reach this machine in place of 127.0.0.1, but where it is
    not to be a cluster, as on macOS. The switch is the constant, which has no public name.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _running_here(start: float) -> str:
    """The address of the cluster that this machine is of. Ray itself would not say which it tries.

    The look-up is Ray's own, which has no public name.
    """
    from ray._private import services

    found = attempt(lambda: services.get_ray_address_from_environment("auto", None))
    if isinstance(found, Raised):
        raise _unreachable("auto", start, "none runs here, and RAY_ADDRESS does not name one")
    return str(found)


def _probe(address: str, start: float) -> None:
    """Wait for something to listen there: Ray itself would try for minutes and end the program.

    Ray puts this machine's outer address in place of 127.0.0.1, and so does the look here.
    """
    from ray._private import services

    client, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"Ray address {address!r}: expected auto, local or HOST:PORT")
    used = host if client else services.resolve_ip_for_localhost(host)
    while True:
        answer = attempt(lambda: socket.create_connection((used, int(port)), timeout=5.0).close())
        if not isinstance(answer, Raised):
            return
        if time.monotonic() - start > REACH_SECONDS:
            instead = "" if used == host else f"; Ray looks for it at {used}"
            raise _unreachable(address, start, f"{answer.error}{instead}")
        time.sleep(0.5)


def _unreachable(address: str, start: float, reason: str) -> ClusterError:
    tried = time.monotonic() - start
    return ClusterError(f"no Ray cluster at {address} (tried for {tried:.0f} s): {reason}")
