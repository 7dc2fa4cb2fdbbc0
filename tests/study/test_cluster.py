"""A cluster that cannot be reached; the rest of it is in `test_workers`, which has a cluster."""

from __future__ import annotations

import importlib.util
import socket

import pytest

from automl.errors import ClusterError, UsageError
from automl.study import cluster
from automl.study.cluster import check_ray, connected


def test_what_to_install_is_said_where_there_is_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    check_ray("a sweep on a cluster")
    monkeypatch.setattr(cluster, "find_spec", lambda name: importlib.util.find_spec(f"no_{name}"))
    with pytest.raises(UsageError) as error:
        check_ray("a sweep on a cluster")
    assert str(error.value) == "a sweep on a cluster needs Ray: pip install 'automl[ray]'"


def test_an_address_where_nothing_listens_is_named_with_how_long_it_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "REACH_SECONDS", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    said = rf"no Ray cluster at {address} \(tried for \d+ s\): "
    with pytest.raises(ClusterError, match=said), connected(address):
        pass


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "ray://:1", "host:port"])
def test_what_is_no_address_is_refused_with_what_is(address: str) -> None:
    with (
        pytest.raises(ClusterError, match=r"expected auto, local or HOST:PORT"),
        connected(address),
    ):
        pass
