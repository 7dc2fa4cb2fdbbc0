"""A cluster that cannot be reached, and an instance of our own; `test_ray_workers` has others."""

from __future__ import annotations

import importlib.util
import socket

import numpy as np
import pytest
import ray
from ray._private import ray_constants, services

from automl.errors import ClusterError, UsageError
from automl.study import cluster
from automl.study.cluster import check_ray, connected
from automl.study.pools import WorkerSettings, open_pool


def test_what_to_install_is_said_where_there_is_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    check_ray("a sweep on a cluster")
    monkeypatch.setattr(cluster, "find_spec", lambda name: importlib.util.find_spec(f"no_{name}"))
    with pytest.raises(UsageError) as error:
        check_ray("a sweep on a cluster")
    assert str(error.value) == "a sweep on a cluster needs Ray: pip install 'automl-latency[ray]'"


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


def test_a_cluster_that_listens_on_127_0_0_1_alone_is_not_where_ray_looks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "REACH_SECONDS", 0.2)
    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host: "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        said = rf"no Ray cluster at {address} .*; Ray looks for it at 127\.0\.0\.2$"
        with pytest.raises(ClusterError, match=said), connected(address):
            pass


def test_the_cluster_of_this_machine_is_named_when_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "REACH_SECONDS", 0.2)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = r"no Ray cluster at 127\.0\.0\.1:1 \(tried for \d+ s\): "
    with pytest.raises(ClusterError, match=said), connected("auto"):
        pass


def test_where_no_cluster_runs_auto_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    said = r"no Ray cluster at auto \(tried for 0 s\): none runs here, and RAY_ADDRESS does not"
    with pytest.raises(ClusterError, match=said), connected("auto"):
        pass


def test_an_instance_of_our_own_is_this_machine_alone_and_says_when_it_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No room is neither in its object store nor on the disk, of which it may use next to none."""
    monkeypatch.setattr(ray_constants, "DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", 80_000_000)
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "0.0001")
    ballast = np.zeros(100_000_000, dtype=np.uint8)
    with connected("local", 1):
        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
        assert ray_constants.ENABLE_RAY_CLUSTER  # as it was before
        with (
            pytest.raises(ClusterError) as error,
            open_pool(lambda policy: float(ballast[0]), WorkerSettings(1, "auto")),
        ):
            pass
    assert str(error.value) == (
        "Ray's object store of 80 MB has no room for the model, its data and its database, and "
        "the disk that it could use instead is full: start Ray with more memory for its objects, "
        "or calibrate on less"
    )
    assert error.value.options == ("calibration",)
